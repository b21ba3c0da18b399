"""Every stable code of the code base is documented on the page that its readers use."""

from collections.abc import Iterator

import pytest

from bursary.assignments.preview_warnings import WarningCode
from tests.docs import codes
from tests.docs.pages import ROOT, first_column, page, rows, section, spans

API, OPERATIONS = page("docs/api.md"), page("docs/operations.md")
SOURCES = dict(codes.modules(ROOT / "bursary"))

REFUSED_BY = {
    "_refused": 2,
    "AllocationRefused": 0,
    "RedemptionRefused": 0,
    "DeclineRefused": 0,
    "WebhookRefused": 0,
    "TokenRefused": 0,
    "_wait": 1,
}
UNUSABLE_BY = {"UnusableRecord": 0, "Unstorable": 0, "RejectedRecord": 1, "Unfetched": 1}
CAUSED_BY = {"DeliveryError": 0, "Failure": 1, "Skipped": 0}
WITH_PAIRS = ("api/refusals.py", "assignments/redemption.py", "budgets/ledger.py")
"""Modules with codes in tuples: beside their next step, and beside the pot that is too small."""


def found_reasons() -> Iterator[str]:
    for path, source in SOURCES.items():
        yield from codes.attributes(source, "reason")
        yield from codes.arguments(source, REFUSED_BY)
        yield from codes.entries(source, "reason")
        for enum in ("JoiningRefusal", "RepairRefusal", "ExtensionRefusal"):
            yield from codes.members(source, enum)
        if path in WITH_PAIRS:
            yield from codes.pairs(source)


def found_unusable() -> Iterator[str]:
    for source in SOURCES.values():
        yield from codes.arguments(source, UNUSABLE_BY)


def found_causes() -> Iterator[str]:
    for source in SOURCES.values():
        yield from codes.arguments(source, CAUSED_BY, keyword="error_code")


def test_every_reason_to_refuse_is_in_the_api_page_and_no_other() -> None:
    documented = [*first_column(API, "Reasons"), *first_column(API, "Reasons inside")]

    assert sorted(documented) == sorted(set(found_reasons()))


def test_every_warning_is_in_the_api_page_and_no_other_and_says_what_to_do() -> None:
    assert sorted(first_column(API, "Warnings")) == sorted(code.value for code in WarningCode)
    assert all(all(row) for row in rows(section(API, "Warnings")))


def test_every_cause_is_in_the_api_page_and_no_other() -> None:
    assert sorted(first_column(API, "Causes")) == sorted(set(found_causes()))


def test_every_reason_to_leave_a_record_out_is_in_the_operators_page_and_no_other() -> None:
    assert sorted(first_column(OPERATIONS, "Provide a catalog as a file")) == sorted(set(found_unusable()))


def test_every_reason_says_what_to_do() -> None:
    assert [row for row in rows(section(API, "Reasons")) if not all(row) or not spans(row[0])] == []


@pytest.mark.parametrize(
    "source",
    [
        "class Refused(Exception):\n    reason = 'no_room'",
        "class Refused(Exception):\n    reason: ClassVar[str] = 'no_room'",
        "raise allocation.AllocationRefused('no_room', 'There is no room.', '', {})",
        "answer = {'reason': 'no_room' if full else 'no_room'}",
    ],
)
def test_a_reason_is_found_however_it_is_given(source: str) -> None:
    found = [
        *codes.attributes(source, "reason"),
        *codes.arguments(source, REFUSED_BY),
        *codes.entries(source, "reason"),
    ]

    assert set(found) == {"no_room"}
