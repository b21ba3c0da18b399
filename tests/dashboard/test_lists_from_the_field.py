"""Addresses and lists that went wrong in the field, typed, pasted or uploaded on the page to assign."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from bursary.assignments.choices import State
from bursary.assignments.models import AllocationBatch
from bursary.budgets.models import Budget
from bursary.dashboard import forms
from tests import world
from tests.assignments.test_pasted_lists import CASES as LISTS
from tests.assignments.test_pasted_lists import EXPECTED
from tests.dashboard.desk import Desk, nothing_was_done, stored
from tests.lib.test_mailbox import CASES as ADDRESSES
from tests.world import ALICE, BOB, CAROL, PRICE

pytestmark = pytest.mark.django_db

REFUSED = [case["input"] for case in ADDRESSES if case["outcome"] == "refused"]
USABLE = {
    case["input"]: case.get("key_as", case["input"]) for case in ADDRESSES if case["outcome"] != "refused"
}
"""The address that is stored, by what is written."""
WARNED = [case["input"] for case in ADDRESSES if case["outcome"] == "warned"]


def test_each_address_that_can_be_used_is_assigned(desk: Desk) -> None:
    Budget.objects.update(limit_cents=None)
    desk.assign(world.given_content(), "\n".join(USABLE))
    assert stored() == [(address, State.ALLOCATED, PRICE) for address in dict.fromkeys(USABLE.values())]


def test_each_address_that_is_refused_is_named_with_its_line(desk: Desk, budget: Budget) -> None:
    text = desk.assign(world.given_content(), "\n".join([BOB, *REFUSED]))
    assert re.findall(r"Line (\d+), “", text) == [str(2 + number) for number in range(len(REFUSED))]
    assert nothing_was_done(budget)


def test_one_address_that_is_refused_keeps_the_others_from_being_assigned(desk: Desk, budget: Budget) -> None:
    assert "Line 2, “" in desk.assign(world.given_content(), f"{BOB}\n{REFUSED[0]}")
    assert nothing_was_done(budget)


def test_a_preview_warns_of_the_addresses_to_be_warned_of_and_of_no_other(desk: Desk) -> None:
    Budget.objects.update(limit_cents=None)
    content = world.given_content()
    text = desk.preview(content, "\n".join(address for address in USABLE if address not in WARNED))
    assert "Check this first" not in text
    assert "<strong>Check:</strong>" not in text
    assert "Continue to “Assign”" in text

    text = desk.preview(content, "\n".join([BOB, *WARNED]))
    assert "Check this first" in text
    assert text.count("<strong>Check:</strong>") == len(WARNED)
    assert "“gmial.com” looks mistyped: perhaps marta@gmail.com is meant." in text
    assert "Addresses with a domain that looks mistyped: 1." in text
    assert "“larkspur.invalid” is reserved for examples, tests or private networks." in text
    assert "Addresses with a reserved domain: 1." in text
    assert "Continue to “Assign”" in text


def test_an_invisible_character_is_named_on_the_page(desk: Desk) -> None:
    text = desk.preview(world.given_content(), "an\u200ena@larkspur.example")
    assert "It contains U+200E LEFT-TO-RIGHT MARK." in text


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("uploaded", [False, True], ids=["pasted", "uploaded"])
def test_a_list_is_its_people_and_lines_without_an_address_are_named(
    desk: Desk, name: str, uploaded: bool
) -> None:
    content, (people, dropped) = world.given_content(), EXPECTED[name]

    def asked() -> dict[str, Any]:
        file = SimpleUploadedFile("list.csv", LISTS[name].encode())
        return {"addresses": "", "file": file} if uploaded else {"addresses": LISTS[name]}

    preview = desk.preview(content, "", **asked())
    assert "Continue to “Assign”" in preview
    done = desk.assign(content, "", **asked())

    assert [address for address, _state, _price in stored()] == people
    for text in (preview, done):
        lines = [line for line in LISTS[name].splitlines() if line.strip(" ,;")]
        headings = [line for line in lines if set(line).isdisjoint("@\uff20\ufe6b")]
        assert ("Lines without an address:" in text) == bool(headings)
        for one in dropped:
            assert (f"“{one}” (line " in text) == any(one in line for line in headings)


def test_an_address_in_another_column_is_left_out_and_named_before_the_names(desk: Desk) -> None:
    content, table = world.given_content(), f"Name;E-Mail;Manager\nDoe, Alice;{ALICE};{BOB}"
    preview, done = desk.preview(content, table), desk.assign(content, table)
    assert [address for address, _state, _price in stored()] == [ALICE]
    for text in (preview, done):
        sentence = f"Addresses left out, being in another column: “{BOB}” (line 2, column “Manager”). Lines"
        assert sentence in text


def test_a_name_beside_its_address_is_no_line_without_one(desk: Desk) -> None:
    content, pasted = world.given_content(), f"“Ben Ito” <{ALICE}>; Dan Roth <{BOB}>"
    for text in (desk.preview(content, f"{pasted}\n"), desk.assign(content, pasted)):
        assert "Ben Ito" not in text.replace(f"“Ben Ito” <{ALICE}>", "")
        assert "Dan Roth" not in text.replace(f"Dan Roth <{BOB}>", "")


def test_the_page_asks_to_check_an_only_column_of_managers(desk: Desk) -> None:
    page = desk.preview(world.given_content(), f"Name;Manager e-mail\nDoe, Alice;{BOB}")
    assert "The addresses were read from the only column that has any, “Manager e-mail”: check it." in page


def test_a_file_is_added_to_what_is_typed_and_is_shown_in_the_list(desk: Desk) -> None:
    file = SimpleUploadedFile("list.csv", BOB.encode())
    text = desk.preview(world.given_content(), ALICE, file=file, due_date="2900-03-20")
    assert 'name="due_date" value="2900-03-20"' in text
    assert f">\n{ALICE}\n{BOB}</textarea>" in text.replace("\r\n", "\n")
    assert "for 2 learners" in text


def test_a_table_that_is_added_to_what_is_typed_is_its_addresses_without_names_and_headings(
    desk: Desk,
) -> None:
    content, managers = world.given_content(), f"Name,Manager e-mail\nDoe,{BOB}"
    for table in (f"Name,Mail,Manager\nBo Li,{BOB},boss@larkspur.example", f"Bo Li,{BOB}\nBo Li,{BOB}"):
        text = desk.preview(content, ALICE, file=SimpleUploadedFile("list.csv", table.encode()))
        assert "for 2 learners" in text
        assert "to correct" not in text
    asked = desk.preview(content, ALICE, file=SimpleUploadedFile("list.csv", managers.encode()))
    assert "The addresses were read from the only column that has any, “Manager e-mail”: check it." in asked

    desk.assign(content, ALICE, file=SimpleUploadedFile("list.csv", f"Name,Mail\nBo Li,{BOB}".encode()))
    assert [address for address, _state, _price in stored()] == [ALICE, BOB]


def test_what_is_left_out_of_a_table_is_named_where_it_is_added_to_what_is_typed_too(desk: Desk) -> None:
    table = f"Name,Mail,Manager\n\nBo Li,{BOB},boss@larkspur.example"
    text = desk.preview(
        world.given_content(), f"{ALICE}\n", file=SimpleUploadedFile("list.csv", table.encode())
    )
    assert "for 2 learners" in text
    assert "being in another column: “boss@larkspur.example” (line 3, column “Manager”)." in text
    assert "Lines without an address: “Name,Mail,Manager” (line 2)." in text
    assert f">\n{ALICE}\n\n{BOB}</textarea>" in text.replace("\r\n", "\n")


def test_what_is_left_out_of_an_added_file_stays_in_view_until_it_is_read_or_assigned(desk: Desk) -> None:
    content, table = world.given_content(), f"Name,Mail,Manager\nBo Li,{BOB},boss@larkspur.example"
    left_out = "left out, being in another column: “boss@larkspur.example” (line 3, column “Manager”)."
    first = desk.preview(content, ALICE, file=SimpleUploadedFile("list.csv", table.encode()))
    (kept,) = re.findall('name="left_out" value="(.*?)">', first)
    listed = f"{ALICE}\n\n{BOB}"

    again = desk.preview(content, f"{listed}\n{CAROL}", left_out=kept)
    assert (
        again.count(left_out) == first.count(left_out) == 2
    )  # in a sentence, and in the field that keeps it
    assert left_out in desk.preview(content, "nonsense", left_out=kept)
    assert left_out not in desk.preview(content, listed, left_out=kept, left_out_read="on")
    assert left_out not in desk.preview(content, "", left_out=kept)
    assert left_out in desk.assign(content, listed, left_out=kept)
    assert len(stored()) == 2


def test_a_second_file_adds_to_what_is_left_out_of_the_first(desk: Desk) -> None:
    content, table = world.given_content(), f"Name,Mail,Manager\nBo Li,{BOB},boss@larkspur.example"
    file = SimpleUploadedFile("list.csv", table.encode())
    both = {"file": file, "left_out": "Of the first."}

    text = desk.preview(content, ALICE, **both)
    assert re.search(r"Of the first\. Addresses left out, .*“boss@larkspur.example”", text)
    file.seek(0)
    text = desk.preview(content, ALICE, **both, left_out_read="on")
    assert re.search(r"<bdi>Addresses left out, .*“boss@larkspur.example”", text)


def test_what_is_left_out_makes_no_other_request_of_the_same_list(desk: Desk) -> None:
    content, same = world.given_content(), str(uuid4())
    for more in ({}, {"left_out": "Of the file."}, {"left_out": "Of the file.", "left_out_read": "on"}):
        desk.assign(content, ALICE, request=same, **more)
    assert AllocationBatch.objects.count() == 1


def test_a_line_longer_than_any_address_is_cut_wherever_it_is_named(desk: Desk, budget: Budget) -> None:
    content, far = world.given_content(), "x" * 20_000
    cut = f"{'x' * 254}… (cut here; it has 20,000 characters)"
    for list_ in (
        f"{ALICE}\n{far}",
        f"Name,Mail,{far}\nBo,{BOB},boss@larkspur.example",
        f"{ALICE}\n{far}@x.org",
    ):
        text = desk.preview(content, list_)
        shown = re.sub("<textarea.*?</textarea>", "", text, flags=re.DOTALL)
        assert "x" * 255 not in shown
    text = desk.preview(content, f"{ALICE}\n{far}")
    assert text.count(f"<bdi>{cut}</bdi>") == 1
    assert f"Line 2, “{cut}”: " in text
    assert nothing_was_done(budget)


def test_a_row_with_several_addresses_stays_one_to_correct_below_what_is_typed(
    desk: Desk, budget: Budget
) -> None:
    content, table = world.given_content(), f"Name;Boss e-mail;Work e-mail\nBo;boss@larkspur.example;{BOB}"
    text = desk.assign(content, ALICE, file=SimpleUploadedFile("list.csv", table.encode()))
    assert f"Line 3, “Bo;boss@larkspur.example;{BOB}”" in text
    assert nothing_was_done(budget)
    shown = f'{ALICE}\n\n"Bo;boss@larkspur.example;{BOB}"'
    assert shown in text.replace("\r\n", "\n")

    assert f"Line 3, “Bo;boss@larkspur.example;{BOB}”" in desk.assign(content, shown)
    assert nothing_was_done(budget)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04\0\0", "The file is no text. Save the list as CSV, and choose that file."),
        (b"a" * 60, "The file is too long: divide it."),
        (b"", "Enter at least one address."),
    ],
)
def test_a_file_that_is_no_list_is_refused(
    desk: Desk, budget: Budget, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "LONGEST_FILE", 50)
    text = desk.assign(world.given_content(), "", file=SimpleUploadedFile("list.csv", content))
    assert reason in text
    assert nothing_was_done(budget)
