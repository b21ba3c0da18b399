"""One public class name means one thing, and no module has a name that means nothing."""

import ast
from collections import defaultdict

from tests.architecture.source import PACKAGE, modules, place, source_of, tree

NAMES_THAT_SAY_NOTHING = {"common", "core", "exceptions", "helpers", "services", "utils"}
GIVEN_BY_DJANGO = {"Command"}
"""The name by which Django finds the class of each management command."""


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        for node in tree(source_of(module)).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(place(module, node.lineno))

    shared = {name: where for name, where in places.items() if len(where) > 1}

    assert {name: where for name, where in shared.items() if name not in GIVEN_BY_DJANGO} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in PACKAGE.rglob("*") if path.stem in NAMES_THAT_SAY_NOTHING]
