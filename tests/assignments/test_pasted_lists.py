"""What people paste: addresses alone, behind names, in tables; and what is left out of it."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursary.assignments import pasted_lists
from bursary.assignments.pasted_lists import PastedList
from bursary.lib import mailbox

CASES: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "data" / "cases" / "pasted-lists.json").read_text(encoding="utf-8")
)
JANE, RICK = "jane.doe@larkspur.example", "rick.roe@larkspur.example"
EXPECTED = {
    "outlook": ([JANE, RICK, "anna.alba@larkspur.example"], ["Doe, Jane", "Roe, Rick", "Anna Alba"]),
    "outlook-quoted": (["marta.garcia@larkspur.example", RICK], ["García, Marta", "Rick Roe"]),
    "excel": ([JANE, RICK], ["Name\tE-mail", "Jane Doe", "Rick Roe"]),
    "csv with a header": ([JANE, RICK], ["email"]),
    "csv with a mark": ([JANE, RICK], []),
}


def texts(people: PastedList) -> tuple[list[str], list[str]]:
    return [one.text for one in people.entries], [one.text for one in people.dropped]


def test_every_case_has_an_expectation() -> None:
    assert CASES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_list_from_the_field_is_people_and_its_names_are_left_out(name: str) -> None:
    assert texts(pasted_lists.parse(CASES[name])) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_same_list_is_read_from_one_item_and_from_an_item_a_line(name: str) -> None:
    assert texts(pasted_lists.parse_items([CASES[name]])) == EXPECTED[name]
    assert texts(pasted_lists.parse_items(CASES[name].splitlines())) == EXPECTED[name]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_is_read_in_the_encodings_that_spreadsheets_save(encoding: str) -> None:
    content = CASES["outlook-quoted"].encode(encoding)
    assert texts(pasted_lists.parse(pasted_lists.decoded(content))) == EXPECTED["outlook-quoted"]


@pytest.mark.parametrize(
    ("text", "entries", "dropped"),
    [
        ("a@x.example, b@x.example; c@x.example\n\n d@x.example ,;", "a b c d", []),
        (
            "Rick <r@x.example>, a@x.example; b@x.example, Doe, Jane <j@x.example>",
            "r a b j",
            ["Rick", "Doe, Jane"],
        ),
        ('"a@x.example" <a@x.example>', "a", ["a@x.example"]),
        ('"<b>Jane</b>" <j@x.example>; a@x.example', "j a", ["<b>Jane</b>"]),
        ("a@x.example <mailto:a@x.example>", "a", ["a@x.example"]),
        ("Doe, Jane <j@x.example> (HR); <b@x.example>", "j b", ["Doe, Jane, (HR)"]),
        ("'a@x.example'; \"b@x.example\"", "a b", []),
        (
            "Name;E-Mail;Team\nJane;j@x.example;HR\nBob;b@x.example;",
            "j b",
            ["Name;E-Mail;Team", "Jane", "HR", "Bob"],
        ),
        ("Name,Email,Manager\nJ,j@x.example,m@x.example", "j", ["Name,Email,Manager", "J", "m@x.example"]),
        ("Name;E-Mail;Team\nx@x.example, y@x.example", "x y", ["Name;E-Mail;Team"]),
        (
            'Name;E-Mail\nb@x.example\n"Doe, Jane" <j@x.example>\nHal;h@x.example, i@x.example',
            "b j h i",
            ["Name;E-Mail", "Doe, Jane", "Hal"],
        ),
        ("E-Mail;Name\na@x.example;b@x.example", "a b", ["E-Mail;Name"]),
        ("Team;E-Mail\na@x.example, b@x.example", "a b", ["Team;E-Mail"]),
        ("E-Mail;Team\na@x.example;b@x.example;c@x.example", "a b c", ["E-Mail;Team"]),
        ("Name;E-Mail\nDoe, Jane;j@x.example", "j", ["Name;E-Mail", "Doe, Jane"]),
        ("Name\tE-Mail\nDoe, Jane\tj@x.example", "j", ["Name\tE-Mail", "Doe, Jane"]),
        ("Name;E-Mail-Adresse;\nDoe, Jane;j@x.example;", "j", ["Name;E-Mail-Adresse", "Doe, Jane"]),
        ("Doe, Jane\tj@x.example, k@x.example", "j k", ["Doe, Jane"]),
        ("Doe, Jane;j@x.example\nRoe, Rick;r@x.example", "j r", ["Doe, Jane", "Roe, Rick"]),
        ("Name;E-Mail\n<d@x.example>\n;<e@x.example>", "d e", ["Name;E-Mail"]),
        ("mailto:a@x.example, MAILTO:b@x.example", "a b", []),
        ("g@x.example (Gina, on leave), h@x.example(Hal)", "g h", ["(Gina, on leave)", "(Hal)"]),
        ('"Doe, Jane",j@x.example\n"Roe, Rick",r@x.example', "j r", ["Doe, Jane", "Roe, Rick"]),
        ("Nombre\tCorreo\nJane\tj@x.example", "j", ["Nombre\tCorreo", "Jane"]),
        ("a@x.example,b@x.example\nc@x.example,d@x.example", "a b c d", []),
        ("a@x.example\u2028b@x.example\x0bc@x.example\x85d@x.example", "a b c d", []),
        ("a@x.example\uff1bb@x.example\uff0cJane \uff1cj\uff20x.example\uff1e", "a b j", ["Jane"]),
        ("“a@x.example”; «b@x.example»", "a b", []),
        ("E-Mail-Adresse\nj@x.example", "j", ["E-Mail-Adresse"]),
        ("Correo electrónico:\nj@x.example", "j", ["Correo electrónico:"]),
        ("Email\u00a0address\nj@x.example", "j", ["Email\u00a0address"]),
        ("learner_emails\nj@x.example", "j", ["learner_emails"]),
        ("Tel.nr;E\u2011mail\n1;j@x.example", "j", ["Tel.nr;E\u2011mail", "1"]),
        ("Manager e-mail,Email\nm@x.example,j@x.example", "j", ["Manager e-mail,Email", "m@x.example"]),
        ("Nom,Adresse\nJ,j@x.example\nB,b@x.example", "j b", ["Nom,Adresse", "J", "B"]),
    ],
)
def test_people_are_found_in_lists_and_tables(text: str, entries: str, dropped: list[str]) -> None:
    expected = ([f"{one}@x.example" for one in entries.split()], dropped)
    assert texts(pasted_lists.parse(text)) == texts(pasted_lists.parse_items([text])) == expected


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("a@x.example, b.x.example", "b.x.example"),
        ("nonsense\na@x.example", "nonsense"),
        ("Doe; Jane <j@x.example>", "Doe"),
        ("Name;E-mail\nJane;j@x.example\nBob;", "Bob"),
        ("Jane\t\nBob\tb@x.example", "Jane"),
        ("jane doe@x.example", "jane doe@x.example"),
        ("Jane Doe info@x.example", "Jane Doe info@x.example"),
        ("jane@y.example jane@x.example", "jane@y.example jane@x.example"),
        ("Jo joanna@x.example", "Jo joanna@x.example"),
        ("Name;Work e-mail;Manager e-mail\nJane;;m@x.example\nBob;b@x.example;", "Jane"),
        ("'jane@x.example", "'jane@x.example"),
        ("bob.x.example, Jane <j@x.example>", "bob.x.example"),
        ("a@x.example, bob.x.example\nc@x.example, dan.x.example", "bob.x.example"),
        ("bob.x.example\tcarl\nJane\tj@x.example", "bob.x.example\tcarl"),
        ("bob@x.example Jane <j@x.example>", "bob@x.example Jane <j@x.example>"),
        ("j@x.example <Jane>", "j@x.example <Jane>"),
        ("a@x.example (b@x.example)", "a@x.example (b@x.example)"),
        ("Name;E-Mail;Team\nx@x.example; y@x.example; z@x.example", "x@x.example; y@x.example; z@x.example"),
        ("E-Mail;Manager\n;m@x.example", ""),
        ("Boss e-mail,Work e-mail\nm@x.example,j@x.example", "m@x.example,j@x.example"),
        ("Name;Boss e-mail;Work e-mail\nJ;m@x.example;j@x.example", "J;m@x.example;j@x.example"),
        ("rick.x.example, Jane <j@x.example>", "rick.x.example"),
        ("Rick\trick.x.example\nJane\tj@x.example", "Rick\trick.x.example"),
        ("mail.x.example\nj@x.example", "mail.x.example"),
        ("rick.x.example,Rick\nj@x.example,Jane\nb@x.example,Bob", "rick.x.example"),
    ],
)
def test_what_may_be_a_mistake_is_no_name_and_stays_in_the_list(text: str, entry: str) -> None:
    people = pasted_lists.parse(text)
    assert entry in [one.text for one in people.entries]
    assert entry not in [one.text for one in people.dropped]


@pytest.mark.parametrize(
    ("text", "entries", "dropped"),
    [
        ("Doe Jane jane@x.example", "jane", ["Doe Jane"]),
        ("Jane Doe jdoe@x.example; Roe Rick rick@x.example", "jdoe rick", ["Jane Doe", "Roe Rick"]),
        ("1. jane@x.example\n2) Bob <b@x.example>", "jane b", ["1.", "2)", "Bob"]),
        ("- jane@x.example\n\u2022 b@x.example", "jane b", ["-", "\u2022"]),
        ("1. Jane Doe jane@x.example", "jane", ["1.", "Jane Doe"]),
        ("Nr\tName\tE-Mail\n1.\tDoe, Jane\tj@x.example", "j", ["Nr\tName\tE-Mail", "1.", "Doe, Jane"]),
        ("sep=;\nName;E-Mail\nJane;j@x.example", "j", ["sep=;", "Name;E-Mail", "Jane"]),
        ("sep=,\nj@x.example", "j", ["sep=,"]),
        ("a@x.example\u3001b@x.example\uff1bc@x.example\u060cd@x.example", "a b c d", []),
    ],
)
def test_lists_with_numbers_names_before_addresses_and_marks_of_other_scripts_are_read(
    text: str, entries: str, dropped: list[str]
) -> None:
    expected = ([f"{one}@x.example" for one in entries.split()], dropped)
    found = pasted_lists.parse(text)
    assert (texts(found)[0], sorted(texts(found)[1])) == (expected[0], sorted(expected[1]))
    assert texts(pasted_lists.parse_items([text])) == texts(found)


def test_the_address_of_a_manager_alone_in_its_row_is_not_read_as_a_learners() -> None:
    people = pasted_lists.parse(
        "Work e-mail;Manager e-mail\n;m@x.example\nb@x.example;n@x.example\nc@x.example;"
    )
    assert [one.text for one in people.entries] == ["", "b@x.example;n@x.example", "c@x.example"]
    assert [(one.text, one.column) for one in people.dropped if one.column] == [
        ("m@x.example", "Manager e-mail")
    ]
    assert people.read_column == ""


def test_where_the_only_column_of_addresses_is_the_managers_the_list_says_that_it_was_read() -> None:
    for people in (
        pasted_lists.parse("Name;Manager e-mail\nJane;m@x.example"),
        pasted_lists.parse_items(["Name;Manager e-mail", "Jane;m@x.example"]),
    ):
        assert [one.text for one in people.entries] == ["m@x.example"]
        assert people.read_column == "Manager e-mail"


def test_entries_and_what_is_left_out_have_their_lines() -> None:
    people = pasted_lists.parse("\nemail\n\nJane <j@x.example>,b@x.example\n")
    assert [(one.line, one.text) for one in people.entries] == [(4, "j@x.example"), (4, "b@x.example")]
    assert [(one.line, one.text) for one in people.dropped] == [(2, "email"), (4, "Jane")]


def test_an_address_in_another_column_is_left_out_with_the_name_of_the_column() -> None:
    people = pasted_lists.parse("Name\tManager e-mail\tE-mail\nJane\tm@x.example\tj@x.example\n")
    assert [one.text for one in people.entries] == ["j@x.example"]
    assert [(one.text, one.column) for one in people.dropped] == [
        ("Name\tManager e-mail\tE-mail", ""),
        ("Jane", ""),
        ("m@x.example", "Manager e-mail"),
    ]


def test_names_of_accounts_are_no_addresses_without_their_at() -> None:
    people = pasted_lists.parse("jane.doe;jane.doe@x.example\nJ.Roe;r@x.example")
    assert texts(people) == (["jane.doe@x.example", "r@x.example"], ["jane.doe", "J.Roe"])


def test_a_heading_in_the_first_item_is_that_of_the_others() -> None:
    people = pasted_lists.parse_items(["Name;E-Mail;Manager", "Doe, Jane;j@x.example;m@x.example"])
    assert [(one.line, one.text) for one in people.entries] == [(1, "j@x.example")]
    assert [(one.line, one.text, one.column) for one in people.dropped[1:]] == [
        (1, "Doe, Jane", ""),
        (1, "m@x.example", "Manager"),
    ]


def test_an_item_without_an_address_is_an_entry_and_only_the_first_may_be_a_heading() -> None:
    people = pasted_lists.parse_items(["email", "a@x.example", "", "email"])
    assert [(one.line, one.text) for one in people.entries] == [(1, "a@x.example"), (2, ""), (3, "email")]
    assert [(one.line, one.text) for one in people.dropped] == [(0, "email")]
    assert texts(pasted_lists.parse_items(["email"])) == (["email"], [])


@given(st.text(st.sampled_from("ab@.<>\"',;\t\n\r \ufeff"), max_size=60))
def test_nothing_that_is_written_is_lost(text: str) -> None:
    people = pasted_lists.parse(text)
    kept = "".join(one.text for one in (*people.entries, *people.dropped))
    for letter in "ab@":
        assert kept.count(letter) == text.count(letter)


LOCALS = st.integers(1, 40).map(lambda number: f"p{number}")
ADDRESSES = LOCALS.map(lambda local: f"{local}@x.example")
NAMES = st.sampled_from(
    ["Jane", "Doe, Jane", '"Roe, Rick"', "Jörg Müller", "HR; Payroll", "(on leave, maybe)", "", "-"]
)
PEOPLE = st.one_of(
    ADDRESSES,
    NAMES,
    st.builds("{} <{}>".format, NAMES, ADDRESSES),
    st.builds("{} <mailto:{}> (HR)".format, NAMES, ADDRESSES),
    st.builds("{} ({})".format, ADDRESSES, NAMES),
    st.builds('"{}"'.format, ADDRESSES),
    st.builds("mailto:{}".format, ADDRESSES),
    st.builds("{} {}".format, ADDRESSES, ADDRESSES),
    st.builds("{} <{}>".format, ADDRESSES, ADDRESSES),
    st.builds("{} <{}>".format, ADDRESSES, NAMES),
)
HEADINGS = st.sampled_from(
    [
        "Name;E-Mail;Department",
        "Name,Email",
        "E-Mail\tName",
        "email",
        "Name\tManager\tMail",
        "Nombre\tX",
        "a;b",
    ]
)
LINES = st.lists(
    st.tuples(PEOPLE, st.sampled_from([",", ", ", ";", "; ", "\t", " ", ";;", '"', "<", ">", "("])),
    max_size=4,
).map(lambda cells: "".join(cell + mark for cell, mark in cells))
LISTS = st.builds(
    lambda heading, lines: "\n".join([*heading, *lines]), st.lists(HEADINGS, max_size=1), st.lists(LINES)
)


def refused_or_found(text: str) -> set[str]:
    """Return the addresses that an entry is or, where it is refused with a reason, contains."""
    with suppress(mailbox.BadAddress):
        return {mailbox.canonical(text)}
    return set(re.findall(r"p\d+@x\.example", text))


@given(LISTS)
def test_every_address_is_an_entry_or_refused_or_left_out_with_the_name_of_its_column(text: str) -> None:
    for people in (pasted_lists.parse(text), pasted_lists.parse_items(text.split("\n"))):
        entries = set().union(*(refused_or_found(one.text) for one in people.entries))
        columns = {found for one in people.dropped if one.column for found in refused_or_found(one.text)}
        assert set(re.findall(r"p\d+@x\.example", text)) == entries | columns
        for one in people.dropped:
            assert one.column or set(re.findall(r"p\d+@x\.example", one.text)) <= entries
            assert not one.column or one.column in text.split("\n")[0]


def test_a_long_line_of_marks_takes_no_long_time() -> None:
    marks = ('"' * 100_001, "<" * 100_000, "<>" * 50_000 + "x", '",' * 50_001, "<a>\t" * 25_000)
    words = (
        "a.bb\t" * 25_000 + "c@x.example",
        "(" * 100_000,
        "()" * 50_000,
        "a@" * 50_000,
        "a.bb, " * 25_000,
    )
    for text in (*marks, *words, "\n".join(["a@x.example, b; c"] * 10_000)):
        pasted_lists.parse(text)
