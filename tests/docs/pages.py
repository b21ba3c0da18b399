"""Reads the documentation's Markdown: sections, tables, and what is set as code."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMENT = re.compile(r"\s# .*$", re.MULTILINE)
_RULE = re.compile(r"\| --- \|")


def page(path: str) -> str:
    """Return a page's text."""
    return (ROOT / path).read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    """Return the page's headings in order."""
    return _HEADING.findall(_FENCED.sub("", text))


def section(text: str, heading: str) -> str:
    """Return what stands between a heading and the next one. KeyError if there is no such heading."""
    match = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    if match is None:
        raise KeyError(heading)
    following = _HEADING.search(text, match.end())
    return text[match.end() : following.start() if following else None]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the tables in `text`, without their heads."""
    found: list[list[str]] = []
    body = False
    for line in text.splitlines():
        if not line.startswith("|"):
            body = False
        elif _RULE.search(line):
            body = True
        elif body:
            found.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return found


def spans(text: str) -> list[str]:
    """Return what is set as code within lines."""
    return _SPAN.findall(_FENCED.sub("", text))


def code(text: str) -> Iterator[str]:
    """Yield everything that is set as code: in lines, and in blocks without their comments."""
    yield from spans(text)
    for block in _FENCED.finditer(text):
        yield _COMMENT.sub("", block.group())


def first_column(text: str, heading: str) -> list[str]:
    """Return what is set as code in the first column of a section's tables."""
    return [span for row in rows(section(text, heading)) for span in spans(row[0])]
