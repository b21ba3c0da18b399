"""A set of words, a pattern and a date have one definition each: equal ones in two modules drift apart."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest

from tests.architecture.source import PACKAGE, modules, nodes, place, source_of, tree

EQUAL_BY_CHANCE: Mapping[str, str] = {
    "ActionType.NUDGED, ActionType.REMINDED": "mails with a last date, and mails to unsubscribe from",
    "State.ACCEPTED, State.ALLOCATED": "states in force, and in `account_linking` an order of preference",
}
"""Sets that two modules name, and the two meanings."""
LITERALS = {"re.compile", "datetime"}


def words(node: ast.AST) -> str:
    """Return a set of two or more members of an enumeration, sorted, a pattern or a date as text, or ''."""
    match node:
        case ast.Tuple(elts=members) | ast.List(elts=members) | ast.Set(elts=members) if len(members) > 1:
            return ", ".join(sorted(map(ast.unparse, members))) if all(map(_is_member, members)) else ""
        case ast.Call(func=function) if ast.unparse(function) in LITERALS:
            return ast.unparse(node) if all(isinstance(one, ast.Constant) for one in node.args) else ""
    return ""


def _is_member(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr.isupper() and ast.unparse(node.value).isidentifier()


def named(source: str) -> Iterator[str]:
    """Yield what the module's own constants are made of; not the rows of its tables."""
    for statement in tree(source).body:
        match statement:
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.AST() as value):
                parts = ast.iter_child_nodes(value) if isinstance(value, ast.BinOp | ast.Call) else ()
                yield from filter(None, map(words, (value, *parts)))


def test_a_set_of_words_a_pattern_or_a_date_is_named_in_one_module() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for text in named(source_of(module)):
            places[text].add(module.relative_to(PACKAGE).as_posix())
    twice = {text: sorted(found) for text, found in places.items() if len(found) > 1}
    assert {text: found for text, found in twice.items() if text not in EQUAL_BY_CHANCE} == {}
    assert set(EQUAL_BY_CHANCE) == set(twice)


def test_what_the_choices_name_is_spelt_out_nowhere_else() -> None:
    choices = PACKAGE / "assignments" / "choices.py"
    known = set(named(source_of(choices))) - set(EQUAL_BY_CHANCE)
    spelt = [
        f"{place(module, node.lineno)}: {words(node)}"
        for module in modules()
        if module != choices
        for node in nodes(source_of(module))
        if isinstance(node, ast.expr) and words(node) in known
    ]
    assert spelt == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("A = (State.B, State.A)", ["State.A, State.B"]),
        ("A = WORK - {Kind.A, Kind.B}", ["Kind.A, Kind.B"]),
        ("A = re.compile('[a-z]+')", ["re.compile('[a-z]+')"]),
        ("A = datetime(9000, 1, 1, tzinfo=UTC)", ["datetime(9000, 1, 1, tzinfo=UTC)"]),
        ("A = (State.A,)\nB = (one.a, one.b)\nC = {1: (State.A, State.B)}\nrows((State.A, State.B))", []),
    ],
)
def test_a_constant_is_found(source: str, found: list[str]) -> None:
    assert list(named(source)) == found
