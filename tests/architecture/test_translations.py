"""What people read can be translated: texts of templates are in translation tags, of views in gettext."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.template.base import Lexer, TokenType

from tests.architecture.source import PACKAGE, modules, nodes, place, source_of

# Names and abbreviations that are the same in every language.
UNTRANSLATED = re.compile(r"Bursary|API|https?|B(?=$)")
READ_ALOUD = {"alt", "aria-label", "label", "placeholder", "title", "data-label"}
ENGLISH_ALONE = {"api/templates/rest_framework/api.html"}  # a page of DRF's for developers
WORD = re.compile(r"[^\W\d_]")
ICON = re.compile(r"[a-z]+-[a-z-]+")
LITERAL = re.compile(r"""_\((?:"[^"]*"|'[^']*')\)|"([^"]*)"|'([^']*)'""")
SHOWN = {"label", "help_text"}


class Reader(HTMLParser):
    """Collects what is read or read aloud in a page, outside of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.texts += [value for name, value in attributes if name in READ_ALOUD and value]

    def handle_data(self, text: str) -> None:
        if self.inside not in ("style", "code"):
            self.texts.append(text)


def untranslated(source: str, *, html: bool) -> Iterator[str]:
    """Yield the texts of a template that no translation tag surrounds."""
    kept, ends = [], ""
    for token in Lexer(source).tokenize():
        name = token.contents.partition(" ")[0]
        if ends:
            ends = "" if name == ends else ends
        elif token.token_type is TokenType.TEXT:
            kept.append(token.contents)
        elif name in ("blocktranslate", "comment"):
            ends = f"end{name}"
        else:
            kept.append(" … ")
            yield from _given(token.contents, name=name)
    yield from _read("".join(kept), html=html)


def _given(tag: str, *, name: str) -> Iterator[str]:
    """Yield texts in a tag: the default of a value, or what a part is given, such as title="No course"."""
    of_tag = tag if name in ("include", "with") else tag.partition("default:")[2]
    for double, single in LITERAL.findall(of_tag):
        text = double or single
        if WORD.search(text) and (" " in text or of_tag is not tag) and not ICON.fullmatch(text):
            yield text


def _read(text: str, *, html: bool) -> Iterator[str]:
    reader = Reader()
    reader.feed(text if html else f"<p>{text}")
    for found in reader.texts:
        if WORD.search(UNTRANSLATED.sub("", found)):
            yield " ".join(found.split())


def test_texts_of_templates_stand_in_translation_tags() -> None:
    found = []
    for template in sorted(PACKAGE.rglob("templates/**/*.*")):
        name = str(template.relative_to(PACKAGE))
        if name not in ENGLISH_ALONE:
            source = template.read_text(encoding="utf-8")
            found += [f"{name}: {text}" for text in untranslated(source, html=name.endswith(".html"))]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>{% translate 'Price' %}: {{ price }}</p>", []),
        ("<p>{% blocktranslate %}Page {{ number }}{% endblocktranslate %} · Bursary</p>", []),
        ("<p>Page {{ number }}</p>", ["Page …"]),
        ('<a aria-label="Next"></a>', ["Next"]),
        ('<a class="next" href="/next">{{ day|default:"never" }}</a>', ["never"]),
        ('{% include "part.html" with title="No course yet" icon="school" %}', ["No course yet"]),
        ('{% include "part.html" with title=_("No course yet") %}', []),
        ("<style>p { color: red }</style>{# a note #}{% comment %}Another{% endcomment %}", []),
    ],
)
def test_what_is_not_translated_is_found(source: str, found: list[str]) -> None:
    assert list(untranslated(source, html=True)) == found


def _said(call: ast.Call) -> Iterator[ast.expr]:
    """Yield what a call says to people: a message of a view, an error of a form, a field's label or help."""
    if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "messages":
        yield from call.args[1:]
    elif ast.unparse(call.func).rpartition(".")[2] == "ValidationError":
        yield from call.args
    yield from (keyword.value for keyword in call.keywords if keyword.arg in SHOWN)


def test_messages_of_views_and_words_of_forms_go_through_gettext() -> None:
    assert [
        place(module, node.lineno)
        for module in modules(PACKAGE / "dashboard")
        for node in nodes(source_of(module))
        if isinstance(node, ast.Call)
        for said in _said(node)
        if any(isinstance(part, ast.Constant) and WORD.search(str(part.value)) for part in ast.walk(said))
        and not isinstance(said, ast.Call | ast.BinOp | ast.IfExp)
    ] == []


def test_what_is_left_out_is_there() -> None:
    assert [name for name in ENGLISH_ALONE if not Path(PACKAGE, name).exists()] == []
