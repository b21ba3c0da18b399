"""Many items, a few at a time: deletions in batches, and halves until a bad item stands alone."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import SignInFailures
from bursary.lib import batches

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)

FAILURES = SignInFailures.objects.order_by("since")


def given_failures(count: int) -> None:
    SignInFailures.objects.bulk_create(
        SignInFailures(digest=f"{number:064}", since=NOW + number * SECOND, failures=1)
        for number in reversed(range(count))
    )


def remaining() -> list[datetime]:
    return list(FAILURES.values_list("since", flat=True))


@pytest.mark.parametrize(
    ("count", "parts"), [(0, []), (2, ["ab"]), (4, ["ab", "cd"]), (5, ["ab", "cd", "e"])]
)
def test_slices_part_a_sequence(count: int, parts: list[str]) -> None:
    assert ["abcde"[:count][part] for part in batches.slices(count, 2)] == parts


def test_pages_by_a_column_of_text_are_in_its_order(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    given_failures(5)
    digests = SignInFailures.objects.values_list("digest", flat=True)
    with django_assert_num_queries(3):
        pages = list(batches.keyset_pages(digests, size=2, after="", key="digest"))
    assert [[int(digest) for digest in page] for page in pages] == [[0, 1], [2, 3], [4]]


def test_all_rows_are_deleted_in_batches_and_counted(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    given_failures(5)
    monkeypatch.setattr(batches, "ROWS_PER_DELETION", 2)
    with django_assert_num_queries(7):  # three batches, each found and deleted, and one that is empty
        assert batches.delete_first(FAILURES) == 5
    assert remaining() == []


def test_a_run_ends_after_its_last_batch_and_has_deleted_the_first_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_failures(6)
    monkeypatch.setattr(batches, "ROWS_PER_DELETION", 2)
    monkeypatch.setattr(batches, "MAX_DELETIONS", 2)
    assert batches.delete_first(FAILURES) == 4
    assert remaining() == [NOW + 4 * SECOND, NOW + 5 * SECOND]


def test_rows_beyond_the_newest_can_be_named_by_an_offset() -> None:
    given_failures(5)
    assert batches.delete_first(FAILURES.reverse()[2:]) == 3
    assert remaining() == [NOW + 3 * SECOND, NOW + 4 * SECOND]


def test_a_day_deletes_as_many_rows_as_a_large_organisation_makes_in_one() -> None:
    assert batches.ROWS_PER_DELETION * batches.MAX_DELETIONS >= 200_000


def test_a_part_that_fails_is_halved_behind_what_waits_until_its_bad_item_is_alone() -> None:
    parts, tried, alone = batches.Halving(range(7)), [], []

    for part in parts:
        tried.append([*part])
        if 5 in part and not parts.halve(part):
            alone.append([*part])

    assert tried == [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2], [3, 4, 5, 6], [3, 4], [5, 6], [5], [6]]
    assert alone == [[5]]
    assert not parts.waiting


def test_the_part_at_which_work_breaks_off_still_waits() -> None:
    parts = batches.Halving(range(4))

    for part in parts:
        if not (len(part) == 4 and parts.halve(part)):
            break

    assert [[*part] for part in parts.waiting] == [[0, 1], [2, 3]]


def test_of_nothing_there_is_no_part() -> None:
    assert list(batches.Halving([])) == []
