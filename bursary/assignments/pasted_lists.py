"""Lists of people as they are pasted, sent or uploaded: addresses alone, with names, or in a table.

The addresses become entries, which `addresses` checks. What is left out beside them is named. What has an @
is an entry, except in a column that a table's heading gives another meaning, such as "Manager": it is left
out with the name of its column.
"""

import codecs
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bursary.lib import mailbox

_LINE_END = re.compile(r"\r\n|[\r\n\v\f\x85\u2028\u2029]")
_MARKS_OF_OTHER_SCRIPTS = str.maketrans({"、": ",", "､": ",", "،": ",", "؛": ";"})
"""Commas and semicolons that are no full-width forms: those are folded with the letters."""
_SEPARATOR_LINE = re.compile(r'"?sep=[\t;,]"?', re.IGNORECASE)
"""The line in which a spreadsheet names its separator, before the table."""
_NUMBERING = re.compile(r"\s*((?:\(?\d{1,5}[.):]|[-*•·–])[ \u00a0]+)(?=\S.*[@\ufe6b])")  # noqa: RUF001  # as pasted
_AFTER_NAME = re.compile(r"([^@<>()\"]+)\s([^\s@<>()\"]+@[^\s@<>()\"]+)")
_LONG_ENOUGH = 3  # letters of a name that an address has by no chance
_SEPARATORS = ("\t", ";", ",")
"""In the order in which a table's is looked for: the names beside semicolons have commas."""
_CELL = {
    marks: re.compile(
        rf'((?:"(?:[^"]|"")*"|<[^<>]*>|\([^()@\ufe6b]*\)|[^"{marks}<>(]|["<>(])*)([{marks}]|\Z)'
    )
    for marks in (*_SEPARATORS, ",;")
}
"""A cell and the mark after it. Marks within quotation marks or brackets divide nothing."""
_WITH_NAME = re.compile(r'("(?:[^"]|"")*"\s*|[^<>]*)<([^<>]*)>([^<>]*)')
_WITH_REMARK = re.compile(r"([^\s()<>]+)\s*(\([^()]*\))")
_MAILTO = re.compile(r"\Amailto:", re.IGNORECASE)
_MARKS = re.compile(r"[\s,;<>\"']+")
_AT = re.compile("[@\ufe6b]")
_QUOTATION_MARKS = (*(('"', '"'), ("'", "'"), ("“", "”"), ("\u2018", "\u2019"), ("„", "“"), ("«", "»")),)
_MAY_BE_ADDRESS = re.compile(r"@|\w\.[a-z]{2}")
"""Matches an address that lost its @, and no name or heading."""
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
_NAME_COLUMNS = frozenset(
    (
        *(
            "name",
            "names",
            "fullname",
            "firstname",
            "lastname",
            "surname",
            "displayname",
            "learner",
            "student",
        ),
        *("learnername", "studentname", "employee", "employeename", "vorname", "nachname", "nom", "prénom"),
        *("nombre", "apellidos", "student"),
    )
)
"""Headings of the learners' own names, without spaces."""
_OTHERS = frozenset(
    (
        *("manager", "managers", "boss", "supervisor", "superior", "lead", "leader", "head", "approver"),
        *("sponsor", "assistant", "coach", "mentor", "trainer", "vorgesetzter", "vorgesetzte", "chef"),
        *("leiter", "responsable", "supérieur", "jefe", "gerente", "responsabile", "leidinggevende"),
    )
)
"""Words of headings for the addresses of other people than the learners."""


class Entry(NamedTuple):
    """A piece of text that should be an address, and its line, from 1."""

    line: int
    text: str
    column: str = ""
    """The heading of the column of an address that is left out."""


@dataclass
class PastedList:
    """The entries of a list in their order, and what was left out: names, headings and other columns."""

    entries: list[Entry] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)
    read_column: str = ""
    """The heading of the only column of addresses, where that names other people, such as managers."""


class _Line(NamedTuple):
    number: int
    text: str

    def cells(self, separator: str) -> list[str]:
        """Return the parts between the separators."""
        return [cell for cell, _mark in _divided(self.text, separator)]


@dataclass(frozen=True)
class _Table:
    """The separator of a table, its columns of addresses, and its headings, if it has any."""

    separator: str
    columns: Sequence[int] = ()
    headings: Sequence[str] = ()

    def cells(self, line: _Line) -> list[str]:
        """Return the cells of a line; none if it does not reach a column of addresses, or has too many."""
        cells = line.cells(self.separator)
        while len(cells) > len(self.headings) > 0 and not cells[-1]:
            del cells[-1]
        return cells if min(self.columns) < len(cells) <= (len(self.headings) or len(cells)) else []

    def has_learner(self, at: int, cell: str, *, accounts: Container[str]) -> bool:
        """Return whether a cell is one of addresses, or may be an address and its heading allows that."""
        heading = self.headings[at] if at < len(self.headings) else ""
        if at in self.columns:
            return bool(cell) and not (len(self.columns) > 1 and _is_of_others(heading))
        if _AT.search(cell):
            return not heading or _heading(heading).replace(" ", "") in _NAME_COLUMNS
        return not heading and bool(_MAY_BE_ADDRESS.search(cell)) and cell not in accounts


def parse(text: str) -> PastedList:
    """Return the entries of a text.

    In a table, which has tabs, a heading, or one address in the same column of each of several lines, other
    columns are left out. Elsewhere commas and semicolons separate people, and only names beside an address
    are left out, and the numbers or bullets before people: a word alone may be a mistyped address.
    """
    lines = _LINE_END.split(_half_width(text))
    return _read([_Line(number, line) for number, line in enumerate(lines, 1)])


def parse_items(items: Sequence[str]) -> PastedList:
    """Return the entries of a list of texts, each of one line or more; lines are positions, from 0.

    An item without an address is an entry, too, so that it is refused; only the first may be a heading.
    """
    lines = [
        _Line(position, line)
        for position, item in enumerate(items)
        for line in _LINE_END.split(_half_width(item))
    ]
    found = _read(lines)
    filled = {one.line for one in found.entries}
    if len(items) > 1 and any(one.line == 0 for one in found.dropped):
        filled.add(0)
    empty = [Entry(position, item) for position, item in enumerate(items) if position not in filled]
    entries = sorted([*found.entries, *empty], key=lambda one: one.line)
    dropped = [one for one in found.dropped if one.line in filled]
    return PastedList(entries, dropped, found.read_column)


def joined(text: str, table: str) -> tuple[str, PastedList]:
    """Append the people of another text to a text, one a line; return it, and what was left out.

    Below other lines a table is none any more. An empty line stands for its heading. An entry that would be
    divided there, such as a row with several addresses, is in quotation marks: it stays one to correct.
    """
    found, lines = parse(table), _LINE_END.split(text.rstrip("\r\n"))
    filled, at = {one.line for one in found.entries}, dict[int, int]()
    for heading in [one for one in found.dropped if one.line not in filled]:
        lines.append("")
        at[heading.line] = len(lines)
    for one in found.entries:
        whole = mailbox.is_plain(one.text) or [again.text for again in parse(one.text).entries] == [one.text]
        lines.append(one.text if whole else '"{}"'.format(one.text.replace('"', '""')))
        at.setdefault(one.line, len(lines))
    beside = [one._replace(line=at[one.line]) for one in found.dropped]
    return "\n".join(lines), PastedList([], beside, found.read_column)


def decoded(content: bytes) -> str:
    """Return the text of an uploaded file: UTF-8 or UTF-16 by its mark, else UTF-8, else Windows-1252."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _read(lines: Sequence[_Line]) -> PastedList:
    lines = [line for line in lines if line.text.strip(" ,;\t")]
    found = PastedList()
    if lines and _SEPARATOR_LINE.fullmatch(lines[0].text.strip(" ")):
        found.dropped.append(Entry(lines[0].number, lines[0].text.strip()))
        lines = lines[1:]
    lines = [_unnumbered(line, found) for line in lines]
    table = _headed(lines)
    if table and len(table.columns) == 1 and _is_of_others(table.headings[table.columns[0]]):
        found.read_column = table.headings[table.columns[0]]
    if table or _is_heading(lines):
        found.dropped.append(Entry(lines[0].number, mailbox.tidy(lines[0].text.strip(" ,;\t"))))
        lines = lines[1:]
    if not table or len(table.headings) == 1:
        table = _uniform(lines)
    for line in lines:
        if table and (cells := table.cells(line)):
            _read_cells(line, cells, table, found)
        elif "\t" in line.text:
            _read_cells(line, line.cells("\t"), _Table("\t"), found)
        else:
            _read_people(line.number, line.text, found)
    return found


def _half_width(text: str) -> str:
    return text if text.isascii() else mailbox.half_width(text).translate(_MARKS_OF_OTHER_SCRIPTS)


def _unnumbered(line: _Line, found: PastedList) -> _Line:
    """Return a line with an address without the number, dash or bullet that it begins with, and drop that."""
    if not (numbering := _NUMBERING.match(line.text)):
        return line
    found.dropped.append(Entry(line.number, numbering[1].strip()))
    return _Line(line.number, line.text[numbering.end() :])


def _is_of_others(heading: str) -> bool:
    return not _OTHERS.isdisjoint(_heading(heading).split())


def _headed(lines: Sequence[_Line]) -> _Table | None:
    """Return the table that the first line is the heading of, if it names a column of addresses."""
    if not lines or _AT.search(lines[0].text):
        return None
    for separator in [mark for mark in _SEPARATORS if mark in lines[0].text] or [","]:
        headings = [_unquoted(cell) for cell in lines[0].cells(separator)]
        words = ["" if _MAY_BE_ADDRESS.search(cell) else _heading(cell) for cell in headings]
        exactly = [at for at, heading in enumerate(words) if heading in _ADDRESS_COLUMNS]
        alike = [at for at, heading in enumerate(words) if not _ADDRESS_WORDS.isdisjoint(heading.split())]
        if columns := exactly or alike:
            return _Table(separator, columns, headings)
    return None


def _is_heading(lines: Sequence[_Line]) -> bool:
    """Return whether the first line, without what may be an address, stands over a table."""
    table = _uniform(lines[1:])
    separator = table.separator if table else "\t"
    cells = lines[0].cells(separator) if lines else []
    if len(cells) < 2 or not all(cells) or any(map(_MAY_BE_ADDRESS.search, cells)):
        return False
    tabs = separator == "\t" and len(lines) > 1 and all(_AT.search(line.text) for line in lines[1:])
    return tabs or (table is not None and len(cells) == len(lines[1].cells(separator)))


def _heading(cell: str) -> str:
    """Return the words of a heading in lower case, `e-mail` as one word."""
    words = " ".join(re.findall(r"[^\W_]+", _unquoted(cell).casefold()))
    return re.sub(r"\be (?=mail|post)", "e", words)


def _uniform(lines: Sequence[_Line]) -> _Table | None:
    """Return the table of several lines that have one address each, in the same of as many columns."""
    for separator in [mark for mark in _SEPARATORS if len(lines) > 1 and mark in lines[0].text]:
        shapes: set[tuple[int, ...]] = set()
        for line in lines:
            cells = line.cells(separator)
            shapes.add((len(cells), *(at for at, cell in enumerate(cells) if _AT.search(cell))))
            if len(shapes) > 1:
                break
        width, *columns = next(iter(shapes))
        if len(shapes) == len(columns) == 1 < width:
            return _Table(separator, columns)
    return None


def _read_cells(line: _Line, cells: Sequence[str], table: _Table, found: PastedList) -> None:
    """Read a row of a table. One without an address is an entry as a whole, which is refused.

    So is one with addresses in several columns of addresses, such as "Boss e-mail" and "Work e-mail", or in
    columns of names and of others: it may be a line of people, or have a manager.
    """
    row, beside = PastedList(), False
    # Accounts are often named like the part before the @.
    accounts = {word.partition("@")[0] for word in _MARKS.split(line.text) if "@" in word}
    for at, cell in enumerate(cells):
        if table.has_learner(at, cell, accounts=accounts):
            _read_people(line.number, cell, row)
            beside = beside or at not in table.columns
        elif cell:
            column = table.headings[at] if _AT.search(cell) else ""
            row.dropped.append(Entry(line.number, _unquoted(cell), column))
    left_out = [one for one in row.dropped if one.column]
    several = sum(bool(_AT.search(cells[at])) for at in table.columns if at < len(cells)) > 1
    if several or (left_out and beside):
        row = PastedList([Entry(line.number, line.text.strip(" ,;\t"))])
    elif not any(_AT.search(one.text) for one in row.entries):
        rest = (cell for cell in cells if cell and not _AT.search(cell))
        row = PastedList([Entry(line.number, table.separator.join(rest))], left_out)
    found.entries += row.entries
    found.dropped += row.dropped


def _read_people(number: int, text: str, found: PastedList) -> None:
    """Read people of one line. Words before an address in angle brackets are of its name: `Doe, Jane <…>`."""
    if mailbox.is_plain(text):  # as nearly every one is in a list that a program sends
        found.entries.append(Entry(number, text))
        return
    waiting: list[str] = []
    for cell, mark in _divided(text, ",;"):
        if named := _named(cell):
            address, name = named
            name = ", ".join(part for part in (*waiting, name) if part)
            found.dropped += [Entry(number, name)] if name else []
            found.entries.append(Entry(number, address))
        else:
            waiting.append(cell)
            if mark == "," and not _AT.search(cell) and not _MAY_BE_ADDRESS.search(cell):
                continue
            found.entries += [Entry(number, one) for one in map(_address, waiting) if one]
        waiting = []


def _named(cell: str) -> tuple[str, str] | None:
    """Return address and name of `name <address>` or `address (name)`, if only one of them has an @.

    A name that is the same address is one, too. Of `Jane Doe jane@…` if a word of the name is in the part
    before the @: otherwise `jane doe@…` may be one address with a space in it.
    """
    if match := _WITH_NAME.fullmatch(cell):
        address, name = match[2], ", ".join(filter(None, (_unquoted(match[1]), match[3].strip(" ."))))
    elif match := _WITH_REMARK.fullmatch(cell):
        address, name = match[1], match[2]
    elif match := _AFTER_NAME.fullmatch(cell):
        name, address = match[1].strip(), match[2]
        local = address.partition("@")[0].casefold()
        words = [word for word in name.casefold().split() if len(word) >= _LONG_ENOUGH]
        if _MAY_BE_ADDRESS.search(name) or not any(word in local for word in words):
            return None
    else:
        return None
    address = _address(address)
    one_address = not _AT.search(name) or mailbox.comparable_text(name) == mailbox.comparable_text(address)
    return (address, name) if one_address and _AT.search(address) else None


def _address(cell: str) -> str:
    return _MAILTO.sub("", _unquoted(cell))


def _divided(text: str, marks: str) -> list[tuple[str, str]]:
    """Return the cells of a text, and the mark after each; it is empty after the last."""
    cells = []
    for match in _CELL[marks].finditer(text):
        cells.append((match[1].strip(), match[2]))
        if not match[2]:
            break
    return cells


def _unquoted(text: str) -> str:
    """Return the tidy text, without a pair of quotation marks."""
    text = mailbox.tidy(text)
    for first, last in _QUOTATION_MARKS:
        if len(text) > 1 and text.startswith(first) and text.endswith(last):
            text = text[1:-1].replace(last * 2, last).strip()
    return text
