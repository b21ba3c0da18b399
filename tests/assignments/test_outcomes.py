"""What is stored of an attempt, and which attempts count towards their greatest number (decision 0015)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bursary.assignments import outcomes
from bursary.assignments.choices import ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.assignments.outcomes import (
    ATTEMPTS_LOGGED,
    TRACEBACK_LENGTH,
    AttemptResult,
    Failed,
    Failure,
    Limit,
    NotTried,
    Postponed,
    Skipped,
)
from tests.world import NOW

LATER = NOW + timedelta(hours=1)
BUSY = Failure(ErrorReason.INTERNAL_API_ERROR, "mailbox_unavailable", "It is busy.", "Traceback of busy")
SILENT = Failure(
    ErrorReason.INTERNAL_API_ERROR, "mail_server_unreachable", "It is silent.", "Traceback of silent"
)


def attempt(number: int, *log: Mapping[str, object]) -> LearnerContentAssignmentAction:
    """Return an action at this attempt, with the log of those before."""
    return LearnerContentAssignmentAction(attempts=number, attempt_log=list(log))


def logged(action: LearnerContentAssignmentAction, outcome: AttemptResult) -> dict[str, Any]:
    """Return the entry that is added to the log."""
    *before, entry = outcomes.columns_after(action, outcome, now=NOW)["attempt_log"]
    assert before == action.attempt_log
    return dict(entry)


def postponed(failure: Failure, *, limited_by: Limit | None = "time") -> Postponed:
    return Postponed(failure, LATER, limited_by=limited_by)


def test_what_was_not_tried_counts_as_no_attempt() -> None:
    stored = outcomes.columns_after(attempt(3), NotTried(LATER), now=NOW)

    assert stored == {"status": Status.PENDING, "attempts": 2}


def test_what_was_skipped_says_why_and_when() -> None:
    stored = outcomes.columns_after(attempt(1), Skipped("not_needed", "It is over."), now=NOW)

    assert stored == {
        "status": Status.SKIPPED,
        "error_code": "not_needed",
        "detail": "It is over.",
        "completed_at": NOW,
    }


def test_a_last_failure_is_shown_and_logged() -> None:
    stored = outcomes.columns_after(attempt(2), Failed(SILENT), now=NOW)

    (entry,) = stored.pop("attempt_log")
    assert (entry["attempt"], entry["cause"]) == (2, "mail_server_unreachable")
    assert "first_met" not in entry, "it is not known to be temporary"
    assert "counted" not in entry, "each attempt counted"
    assert stored == {
        "status": Status.FAILED,
        "error_reason": ErrorReason.INTERNAL_API_ERROR,
        "error_code": "mail_server_unreachable",
        "detail": "It is silent.",
        "traceback": "Traceback of silent",
        "completed_at": NOW,
    }


def test_an_attempt_is_logged_with_its_number_its_instant_and_what_failed() -> None:
    assert logged(attempt(1), postponed(SILENT, limited_by="attempts")) == {
        "at": NOW.isoformat(),
        "attempt": 1,
        "cause": "mail_server_unreachable",
        "detail": "It is silent.",
        "traceback": "Traceback of silent",
    }


def test_a_known_temporary_answer_is_not_counted_and_is_dated() -> None:
    entry = logged(attempt(1), postponed(BUSY))

    assert (entry["attempt"], entry["counted"]) == (1, 0)
    assert entry["first_met"] == {"mailbox_unavailable": NOW.isoformat()}


def test_what_waits_for_something_else_is_neither_counted_nor_dated() -> None:
    first = logged(attempt(1), postponed(BUSY, limited_by=None))
    second = logged(attempt(2, first), postponed(BUSY, limited_by=None))

    assert (first["counted"], second["counted"]) == (0, 0)
    assert "first_met" not in second
    assert outcomes.attempts_towards_limit(attempt(3, first, second)) == 1


def test_a_failure_after_long_waits_counts_as_the_first() -> None:
    waited = {"attempt": 25, "counted": 0}

    entry = logged(attempt(26, waited), postponed(SILENT, limited_by="attempts"))

    assert entry["counted"] == 1
    assert outcomes.attempts_towards_limit(attempt(27, waited, entry)) == 2


def test_a_temporary_answer_before_a_wait_is_not_dated_any_more_after_it() -> None:
    before = {"attempt": 1, "counted": 0, "first_met": {"mailbox_unavailable": "2026-11-01T08:00:00+00:00"}}

    waited = logged(attempt(2, before), postponed(SILENT, limited_by=None))
    after = logged(attempt(3, before, waited), postponed(BUSY))

    assert after["first_met"] == {"mailbox_unavailable": NOW.isoformat()}


def test_the_same_answer_keeps_the_date_at_which_it_was_met_first() -> None:
    before = {"attempt": 1, "counted": 0, "first_met": {"mailbox_unavailable": "2026-11-01T08:00:00+00:00"}}

    entry = logged(attempt(2, before), postponed(BUSY))

    assert entry["first_met"] == before["first_met"]
    assert entry["counted"] == 0


def test_another_failure_in_between_is_counted_and_keeps_the_dates() -> None:
    before = {"attempt": 4, "counted": 1, "first_met": {"mailbox_unavailable": "2026-11-01T08:00:00+00:00"}}

    entry = logged(attempt(5, before), postponed(SILENT, limited_by="attempts"))

    assert entry["first_met"] == before["first_met"]
    assert entry["counted"] == 2


def test_each_attempt_counts_the_present_one_and_those_of_workers_that_died_included() -> None:
    assert outcomes.attempts_towards_limit(attempt(1)) == 1
    assert outcomes.attempts_towards_limit(attempt(3)) == 3
    assert outcomes.attempts_towards_limit(attempt(3, {"attempt": 2})) == 3
    assert outcomes.attempts_towards_limit(attempt(6, {"attempt": 2, "counted": 1})) == 5


def test_the_last_entry_says_how_many_attempts_counted() -> None:
    older, last = {"attempt": 1, "counted": 1}, {"attempt": 2, "counted": 1}

    assert outcomes.attempts_towards_limit(attempt(3, older, last)) == 2


def test_when_each_temporary_error_was_met_first_is_read_from_the_last_entry() -> None:
    older = {"attempt": 1, "first_met": {"other": LATER.isoformat()}}
    last = {"attempt": 2, "first_met": {"mailbox_unavailable": NOW.isoformat()}}

    assert outcomes.first_occurrences(attempt(3)) == {}
    assert outcomes.first_occurrences(attempt(3, {"attempt": 1})) == {}
    assert outcomes.first_occurrences(attempt(3, older, last)) == {"mailbox_unavailable": NOW}


def test_only_the_last_attempts_are_kept() -> None:
    log = [{"attempt": number} for number in range(1, ATTEMPTS_LOGGED + 1)]

    kept = outcomes.columns_after(attempt(ATTEMPTS_LOGGED + 1, *log), postponed(SILENT), now=NOW)[
        "attempt_log"
    ]

    assert [entry["attempt"] for entry in kept] == list(range(2, ATTEMPTS_LOGGED + 2))


def test_of_a_long_text_its_end_is_kept_as_every_database_stores_it() -> None:
    failure = Failure(ErrorReason.INTERNAL_API_ERROR, "code", "d" * 30_000 + "\0end", "t" * 30_000 + "\0end")

    failed = outcomes.columns_after(attempt(1), Failed(failure), now=NOW)
    (entry,) = failed["attempt_log"]

    for text in (failed["detail"], failed["traceback"], entry["detail"], entry["traceback"]):
        assert text.endswith("end")
        assert "\0" not in text
        assert TRACEBACK_LENGTH - 1 <= len(text) <= TRACEBACK_LENGTH


def test_the_occurrences_of_an_error_are_the_logged_attempts_that_ended_with_its_code() -> None:
    action = attempt(1)
    for failure in (BUSY, SILENT, BUSY):
        action.attempt_log.append(logged(action, postponed(failure)))

    counts = {
        code: outcomes.occurrences(action, code) for code in (BUSY.error_code, SILENT.error_code, "new")
    }
    assert counts == {BUSY.error_code: 2, SILENT.error_code: 1, "new": 0}
