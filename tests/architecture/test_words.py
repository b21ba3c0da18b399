"""Docstrings, comments and names keep to plain words: their subject is the object that they stand on.

Code in backticks is left alone, because a clients' contract may have such a word in it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, ROOT, definitions, modules, place, prose

PEOPLE = r"who|whoever|whom|whose|nobody|somebody|anybody|everybody|nobody's|somebody's"
MOODS = r"(?:fore)?tells?|told|telling|story|stories|wish(?:es|ed)?|heard|hears|wants?|wanted|wanting"
PHRASES = (
    r"(?:take|takes|taken|took|taking)(?: (?:it|them|an? \w+|the \w+))? up",
    r"(?:go|goes|gone|went|going) back",
    r"withdraws?|withdrawn|withdrew",
    r"of ours",
    r"by (?:itself|themselves)",
    r"at all the same",
    # A fetch is called a fetch.
    r"(?:a|the|another|each|every|last|next|new|older|newer|one|this) looks?(?! (?:like|at))",
)
FORBIDDEN = re.compile(rf"\b(?:{'|'.join((PEOPLE, MOODS, *PHRASES))})\b", re.IGNORECASE)
IN_NAMES = re.compile(rf"(?:^|_)(?:{PEOPLE}|{MOODS})(?:_|$)", re.IGNORECASE)

CODE = re.compile(r"``?[^`]+`?`")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

FOLDERS = [folder for folder in sorted(PACKAGE.iterdir()) if folder.is_dir() and folder.name != "__pycache__"]


def in_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, word) of each forbidden word in the docstrings and comments of `source`."""
    for line, text in prose(source):
        for found in FORBIDDEN.finditer(" ".join(CODE.sub("…", text).split())):
            yield line, found.group()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_docstrings_and_comments_keep_to_plain_words(folder: Path) -> None:
    assert [
        f"{place(module, line)}: {word}"
        for module in modules(folder)
        for line, word in in_prose(module.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_names_keep_to_plain_words(folder: Path) -> None:
    assert [module.name for module in modules(folder) if IN_NAMES.search(module.stem)] == []
    assert [
        f"{place(module, node.lineno)}: {node.name}"
        for module in modules(folder)
        for node in definitions(module)
        if IN_NAMES.search(CAMEL.sub("_", node.name))
    ] == []


def test_the_tests_of_the_architecture_and_the_documents_keep_to_plain_words() -> None:
    assert [
        f"{place(module, node.lineno)}: {node.name}"
        for folder in ("architecture", "docs", "upgrades")
        for module in modules(ROOT / "tests" / folder)
        for node in definitions(module)
        if IN_NAMES.search(node.name)
    ] == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('"""Return whose turn it is."""', ["whose"]),
        ("def f():\n    '''Who takes the course up?'''", ["Who", "takes the course up"]),
        ("LIMIT = 3\n'''Nobody\nwaits longer.'''", ["Nobody"]),
        ("x = 1  # somebody wants another look", ["somebody", "wants", "another look"]),
        ('"""Tokens, wholes and `who` looks like this."""', []),
        ("told = 'a story that nobody tells'", []),
    ],
)
def test_a_forbidden_word_is_found_in_prose_alone(source: str, words: list[str]) -> None:
    assert [word for _line, word in in_prose(source)] == words
