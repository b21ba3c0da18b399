"""Docstrings, comments and names keep to plain words: their subject is the object that they stand on. So do
sentences for people, and documents.

Code in backticks is left alone, because a clients' contract may have such a word in it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import (
    PACKAGE,
    ROOT,
    comments,
    definitions,
    docstrings,
    modules,
    nodes,
    place,
    source_of,
)

PEOPLE = r"whoever|nobody|somebody|anybody|everybody|nobody's|somebody's"
MOODS = r"(?:fore)?tells?|told|telling|story|stories|wish(?:es|ed)?|heard|hears|wants?|wanted|wanting"
# Plain in a sentence for people: `learners who have not answered`.
PLAIN_TO_PEOPLE = r"who|whom|whose"
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
FORBIDDEN = re.compile(rf"\b(?:{'|'.join((PEOPLE, MOODS, PLAIN_TO_PEOPLE, *PHRASES))})\b", re.IGNORECASE)
IN_DOCUMENTS = re.compile(rf"\b(?:{'|'.join((PEOPLE, MOODS))})\b", re.IGNORECASE)
IN_SENTENCES = re.compile(rf"\b(?:{'|'.join((PEOPLE, MOODS, *PHRASES))})\b", re.IGNORECASE)
IN_NAMES = re.compile(rf"(?:^|_)(?:{PEOPLE}|{MOODS}|{PLAIN_TO_PEOPLE})(?:_|$)", re.IGNORECASE)

CODE = re.compile(r"``?[^`]+`?`")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

OLD_NAMES = re.compile(
    r"(?:^|_)(?:adopt|bury|errand|farewells?|foretell|judge|meeting|shelf|showing|tale|tombstone|truth|wording)(?:_|$)"
    r"|^(?:answering|asking|assigning|comparing|duty|explaining|heard|intake|leaving|look|picture|printing|recognition"
    r"|said|seeking|strangers|take|told|want|wish)$",
    re.IGNORECASE,
)
"""Names that the field's terms have replaced (decision 0001), in `bursary`."""

FOLDERS = [PACKAGE, *(ROOT / name for name in ("bench", "scripts", "tests"))]
by_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)

TAG = re.compile(r"\{%-?\s*(?!translate|blocktranslate|comment)\w.*?%\}|\{\{.*?\}\}|<[^>]*>", re.DOTALL)
"""What is no text of a template: tags of Django's without a text, values, and tags of HTML."""


def in_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, word) of each forbidden word in the docstrings and comments of `source`."""
    for line, text in (*docstrings(source), *doubtful_comments(source)):
        for found in FORBIDDEN.finditer(" ".join(CODE.sub("…", text).split())):
            yield line, found.group()


def doubtful_comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments if a line has a forbidden word behind a `#`: few have, and tokens take long."""
    behind = (line.partition("#")[2] for line in source.splitlines())
    return comments(source) if any(FORBIDDEN.search(" ".join(text.split())) for text in behind) else iter(())


@by_folder
def test_docstrings_and_comments_keep_to_plain_words(folder: Path) -> None:
    assert [
        f"{place(module, line)}: {word}"
        for module in modules(folder)
        for line, word in in_prose(source_of(module))
    ] == []


@by_folder
def test_names_keep_to_plain_words(folder: Path) -> None:
    assert [module.name for module in modules(folder) if IN_NAMES.search(module.stem)] == []
    assert [
        f"{place(module, node.lineno)}: {node.name}"
        for module in modules(folder)
        for node in definitions(module)
        if IN_NAMES.search(CAMEL.sub("_", node.name))
    ] == []


def test_no_module_class_or_function_has_a_name_that_a_term_of_the_field_has_replaced() -> None:
    assert [module.name for module in modules() if OLD_NAMES.search(module.stem)] == []
    assert [
        f"{place(module, node.lineno)}: {node.name}"
        for module in modules()
        for node in definitions(module)
        if OLD_NAMES.search(CAMEL.sub("_", node.name).lstrip("_"))
    ] == []


def test_sentences_for_people_keep_to_plain_words() -> None:
    """Help texts, messages, refusals and output: every string of more than one word that is no docstring."""
    assert [
        f"{place(module, line)}: {found.group()}"
        for module in modules()
        for line, text in sentences(source_of(module))
        for found in IN_SENTENCES.finditer(CODE.sub("…", text))
    ] == []


def test_pages_and_mails_keep_to_plain_words() -> None:
    templates = [path for path in sorted(PACKAGE.rglob("templates/**/*")) if path.is_file()]
    assert templates
    assert [
        f"{template.relative_to(ROOT)}: {found.group()}"
        for template in templates
        for found in IN_SENTENCES.finditer(TAG.sub("…", template.read_text(encoding="utf-8")))
        if found.group().lower() != "go back"  # in a browser: money does not
    ] == []


def test_documents_keep_to_plain_words() -> None:
    assert [
        f"{document.relative_to(ROOT)}:{line}: {found.group()}"
        for document in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
        for line, text in enumerate(unfenced(document.read_text(encoding="utf-8")).splitlines(), start=1)
        for found in IN_DOCUMENTS.finditer(CODE.sub("…", text))
    ] == []


def unfenced(text: str) -> str:
    """Return a document with an empty line in place of each line of its examples."""
    return FENCED.sub(lambda found: "\n" * found.group().count("\n"), text)


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of strings of more than one word, without docstrings: their rules are stricter."""
    docstrings = {id(node.value) for node in nodes(source) if isinstance(node, ast.Expr)}
    for node in nodes(source):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings and " " in text.strip():
                yield node.lineno, text


def test_examples_in_documents_are_left_alone() -> None:
    assert unfenced("one\n```\nnobody\n```\nwho\n") == "one\n\n\n\nwho\n"


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
