"""Lists of people as they are pasted, sent or uploaded: addresses alone, with names, or in a table.

The addresses become entries, which `addresses` checks. What is left out beside them is named, and nothing
that could be a mistyped address is left out.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bursary.lib import mailbox

_LINE_END = re.compile(r"\r\n|[\r\n\v\f\x85\u2028\u2029]")
_CELL = re.compile(r'((?:"(?:[^"]|"")*"|<[^<>]*>|[^",;\t<>]|["<>])*)([,;\t]|\Z)')
_WITH_NAME = re.compile(r"([^<>]*)<(?:mailto:)?([^<>]*)>([^<>@]*)", re.IGNORECASE)
_QUOTATION_MARKS = (*(('"', '"'), ("'", "'"), ("“", "”"), ("\u2018", "\u2019"), ("„", "“"), ("«", "»")),)
_MAY_BE_ADDRESS = re.compile(r"@|\w\.[a-z]{2}")
"""What an address without its @ still has, and a name or a heading has not."""
_ADDRESS_COLUMNS = frozenset({"email", "mail", "email address", "email addresses", "learner email"})
"""Headings that name the column of addresses whatever the others are."""
_ADDRESS_WORDS = frozenset(
    (
        *("email", "emails", "mail", "mails", "emailadresse", "emailadressen", "mailadresse", "mailadressen"),
        *("emailadres", "mailadres", "epost", "epostadress", "epostadresse", "courriel", "courriels"),
        *("électronique", "correo", "correos", "eletrônico", "eletrónico", "elettronica", "sähköposti"),
        *("почта", "メールアドレス", "邮箱", "电子邮件", "電子郵件", "이메일"),
    )
)
"""Words of such headings, in several languages. What is written `e-mail` is `email` here."""


@dataclass(frozen=True)
class Entry:
    """A piece of text that should be an address, and its line, from 1."""

    line: int
    text: str


@dataclass
class PastedList:
    """The entries of a list in their order, and what was left out: names, headings and other columns."""

    entries: list[Entry] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)


@dataclass
class _Row:
    """A line that is not empty: its cells, and the separator after each; empty after the last."""

    line: int
    cells: list[str]
    separators: list[str]

    @property
    def addresses(self) -> list[int]:
        """The positions of the cells with an @."""
        return [at for at, cell in enumerate(self.cells) if "@" in cell]

    def text(self, first: int, last: int) -> str:
        """Return the cells from one position to before another as they were written."""
        pairs = zip(self.cells[first:last], self.separators[first:last], strict=True)
        return "".join(cell + separator for cell, separator in pairs).strip(" ,;\t")


def read(text: str) -> PastedList:
    """Return the entries of a text.

    In a table, which has tabs, a heading, or one address in the same column of each of several rows, other
    columns are left out. Elsewhere commas and semicolons separate people, and only names beside an address in
    angle brackets are left out: a word alone may be a mistyped address.
    """
    lines = enumerate(_LINE_END.split(mailbox.half_width(text)), 1)
    rows = [_row(number, line) for number, line in lines if line.strip(" ,;\t")]
    found = PastedList()
    column = _address_column(rows)
    if rows and _is_heading(rows):
        found.dropped.append(Entry(rows[0].line, rows[0].text(0, len(rows[0].cells))))
        del rows[0]
    table = column is not None or _is_table(rows)
    for row in rows:
        if table or "\t" in row.separators:
            _read_columns(row, column, found)
        else:
            _read_people(row, found)
    return found


def read_items(items: Sequence[str]) -> PastedList:
    """Return the entries of a list of texts, each of one person or more; lines are positions, from 0.

    An item without an address is an entry, too, so that it is refused; only the first may be a heading.
    """
    found = PastedList()
    for position, item in enumerate(items):
        part = read(item)
        if not part.entries and not (position == 0 and part.dropped and len(items) > 1):
            part = PastedList([Entry(position, item)])
        found.entries += [Entry(position, one.text) for one in part.entries]
        found.dropped += [Entry(position, one.text) for one in part.dropped]
    return found


def decoded(content: bytes) -> str:
    """Return the text of an uploaded file: UTF-8 or UTF-16 by its mark, else UTF-8, else Windows-1252."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _row(number: int, line: str) -> _Row:
    cells = [(cell[1].strip(), cell[2]) for cell in _CELL.finditer(line)]
    if len(cells) > 1 and not cells[-1][0]:
        cells[-2:] = [(cells[-2][0], "")]  # what follows a separator at the end of a line
    return _Row(number, [cell for cell, _separator in cells], [separator for _cell, separator in cells])


def _is_heading(rows: Sequence[_Row]) -> bool:
    """Return whether the first row has no address, and names a column or stands over a table."""
    first, rest = rows[0], rows[1:]
    if first.addresses or any(_named_columns(first)):
        return not first.addresses
    table = _is_table(rest) and len(first.cells) == len(rest[0].cells)
    tabs = "\t" in first.separators and bool(rest) and all(row.addresses for row in rest)
    names = all(cell and not _MAY_BE_ADDRESS.search(cell) for cell in first.cells)
    return len(first.cells) > 1 and names and (tabs or table)


def _address_column(rows: Sequence[_Row]) -> int | None:
    """Return the position of the column that the first row names as that of addresses, if it names one."""
    if not rows or rows[0].addresses or len(rows[0].cells) == 1:
        return None
    exactly, alike = _named_columns(rows[0])
    return exactly[0] if exactly else alike[0] if len(alike) == 1 else None


def _named_columns(row: _Row) -> tuple[list[int], list[int]]:
    """Return the positions of headings of addresses: those that say no more, and all."""
    exactly, alike = [], []
    for at, cell in enumerate(row.cells):
        heading = "" if _MAY_BE_ADDRESS.search(cell) else _heading(cell)
        exactly += [at] if heading in _ADDRESS_COLUMNS else []
        alike += [] if _ADDRESS_WORDS.isdisjoint(heading.split()) else [at]
    return exactly, alike


def _heading(cell: str) -> str:
    """Return the words of a heading in lower case, `e-mail` as one word."""
    words = " ".join(re.findall(r"[^\W_]+", _unquoted(cell).casefold()))
    return re.sub(r"\be (?=mail|post)", "e", words)


def _is_table(rows: Sequence[_Row]) -> bool:
    """Return whether each of several rows has one address, in the same of as many columns."""
    shapes = {(len(row.cells), *row.addresses) for row in rows}
    return len(rows) > 1 and len(shapes) == 1 and len(next(iter(shapes))) == 2 < 1 + len(rows[0].cells)


def _read_columns(row: _Row, column: int | None, found: PastedList) -> None:
    """Read a row of a table. One without an address is an entry as a whole, which is refused."""
    positions = row.addresses if column is None else [column]
    if not positions or positions[-1] >= len(row.cells) or not row.cells[positions[-1]]:
        found.entries.append(Entry(row.line, row.text(0, len(row.cells))))
        return
    for at, cell in enumerate(row.cells):
        if at in positions:
            _read_one(row.line, cell, "", found)
        elif cell:
            found.dropped.append(Entry(row.line, _unquoted(cell)))


def _read_people(row: _Row, found: PastedList) -> None:
    """Read a row of people. Words before an address in angle brackets are of its name: `Doe, Jane <…>`."""
    waiting = 0
    for at, cell in enumerate(row.cells):
        if _WITH_NAME.fullmatch(cell):
            _read_one(row.line, cell, row.text(waiting, at), found)
        elif _MAY_BE_ADDRESS.search(cell) or row.separators[at] != ",":
            for one in row.cells[waiting : at + 1]:
                _read_one(row.line, one, "", found)
        else:
            continue
        waiting = at + 1


def _read_one(line: int, cell: str, before: str, found: PastedList) -> None:
    """Read one person: an address, perhaps in angle brackets behind a name."""
    if match := _WITH_NAME.fullmatch(cell):
        name = ", ".join(part for part in (before, _unquoted(match[1]), match[3].strip(" .")) if part)
        found.dropped += [Entry(line, name)] if name else []
        cell = match[2]
    if cell := _unquoted(cell):
        found.entries.append(Entry(line, cell))


def _unquoted(text: str) -> str:
    """Return the tidy text, without a pair of quotation marks."""
    text = mailbox.tidy(text)
    for first, last in _QUOTATION_MARKS:
        if len(text) > 1 and text.startswith(first) and text.endswith(last):
            text = text[1:-1].replace(last * 2, last).strip()
    return text
