"""Assignments as CSV: what is in the file, what a spreadsheet may not do with it, and the log."""

import csv
from datetime import timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access.models import User
from bursary.assignments import cancellation, csv_export, declining, reminders
from bursary.assignments.choices import State
from bursary.assignments.csv_export import EXPORTED, AssignmentExport
from bursary.assignments.models import LearnerContentAssignment
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    allocate,
    change_content,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

pytestmark = pytest.mark.django_db

MADRID = ZoneInfo("Europe/Madrid")
Assignments = LearnerContentAssignment.objects


def export(filters: str = "", user: User | None = None, zone: ZoneInfo = MADRID) -> AssignmentExport:
    return csv_export.export(
        Assignments.order_by("-pk"), user=user or given_user(), filters=filters, zone=zone, now=NOW
    )


def rows(file: AssignmentExport) -> list[dict[str, str]]:
    text = b"".join(file.lines).decode("utf-8-sig")
    return list(csv.DictReader(StringIO(text, newline="")))


def test_each_assignment_is_a_line_with_its_money_status_and_dates() -> None:
    assignment = given_assignment()
    deliver()

    (row,) = rows(export())

    content = assignment.content
    assert content is not None
    assert (row["Learner"], row["Course"], row["Course key"]) == (ALICE, content.title, content.content_key)
    assert (row["Price (USD)"], row["Status"], row["What failed"]) == ("199.00", "Waiting", "")
    assert (row["Deadline (Europe/Madrid)"], row["Deadline decided by"]) == (
        "2026-05-31 11:00",
        "then it expires",
    )
    assert (row["Accepted or ended (Europe/Madrid)"], row["Why it ended"]) == ("", "")
    assert (row["state"], row["learner_state"], row["cause"]) == ("allocated", "waiting", "")
    assert row["Assigned (Europe/Madrid)"] == "2026-03-02 10:00"  # NOW is nine o'clock, UTC
    assert row["Assignment"] == str(assignment.uuid)


def test_the_last_reminder_that_was_sent_is_dated_as_in_the_list_and_no_other_action_is(
    mail: MailServer,
) -> None:
    assignment = given_assignment()
    deliver()
    column = "Assigned or reminded (Europe/Madrid)"
    assert [row[column] for row in rows(export())] == ["2026-03-02 10:00"]

    reminded_at = NOW + timedelta(days=2)
    reminders.remind(assignment.budget, uuids=[assignment.uuid], now=reminded_at)
    deliver(now=reminded_at)
    cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=NOW + timedelta(days=3))

    assert [row[column] for row in rows(export())] == ["2026-03-04 10:00"]


def test_a_failure_is_in_words_and_for_programs_a_code() -> None:
    given_assignment(address="leo@nowhere.invalid")
    deliver()
    (row,) = rows(export())
    assert (row["Status"], row["What failed"]) == ("Not notified", "The address does not exist.")
    assert (row["learner_state"], row["cause"]) == ("failed", "address_rejected")


def test_what_has_ended_has_no_deadline_but_when_it_ended_and_why() -> None:
    budget = given_budget()
    allocate(budget, given_content(), ALICE, BOB, CAROL)
    declined, cancelled, expired = Assignments.order_by("pk")
    declining.decline(declined, reason="No time", now=NOW)
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=NOW)
    Assignments.filter(pk=expired.pk).update(state=State.EXPIRED, expired_at=NOW)

    found = rows(export())

    assert [(row["Status"], row["Why it ended"]) for row in found] == [
        ("Declined", "No time"),
        ("Cancelled", "Cancelled by the organisation"),
        ("Expired", "Not accepted in time"),
    ]
    for row in found:
        assert (row["Deadline (Europe/Madrid)"], row["Deadline decided by"]) == ("", "")
        assert row["Accepted or ended (Europe/Madrid)"] == "2026-03-02 10:00"
    assert [row["state"] for row in found] == ["cancelled", "cancelled", "expired"]


def test_it_is_utf_8_with_a_mark_that_excel_needs() -> None:
    given_assignment(content=given_content(title="Geografía"))
    data = b"".join(export().lines)
    assert data.startswith(b"\xef\xbb\xbfLearner,")
    assert "Geografía".encode() in data


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_is_evaluated_by_a_spreadsheet(start: str) -> None:
    assignment = given_assignment()
    assert assignment.content is not None
    title = f'{start}HYPERLINK("https://evil.example","x")'
    change_content(assignment.content, title=title)
    (row,) = rows(export())
    assert row["Course"] == f"'{title}"


@pytest.mark.on_every_engine
def test_many_are_read_in_pages_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_export, "ROWS_PER_PAGE", 2)
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)

    file = export()

    assert file.count == 3
    parts = list(file.lines)
    assert len(parts) == 3  # the header, and two pages
    assert [row["Learner"] for row in rows(export())] == list(
        Assignments.order_by("pk").values_list("learner_email", flat=True)
    )


def test_a_page_costs_the_same_queries_however_many_lines_it_has() -> None:
    allocate(given_budget(), given_content(), ALICE)
    of_one = queries()
    allocate(given_budget(), given_content(), BOB, CAROL)
    assert queries() == of_one


def queries() -> int:
    file = export()
    with CaptureQueriesContext(connection) as run:
        list(file.lines)
    return len(run)


def test_each_budget_logs_the_user_the_number_and_the_filter() -> None:
    budgets = [given_budget(customer=given_customer()) for _ in range(2)]
    allocate(budgets[0], given_content(), ALICE, BOB)
    allocate(budgets[1], given_content(), CAROL)
    user = given_user()

    export("learner_state=waiting", user)

    logged = {entry.object_id: entry for entry in LogEntry.objects.filter(action_flag=EXPORTED)}
    assert set(logged) == {str(budget.pk) for budget in budgets}
    entry = logged[str(budgets[0].pk)]
    assert (entry.user, entry.action_time) == (user, NOW)
    assert entry.get_change_message() == "Assignments exported as CSV: 2; filter: learner_state=waiting"


def test_the_log_forgets_exports_after_a_year_and_nothing_else() -> None:
    given_assignment()
    export()
    user = given_user()
    LogEntry.objects.create(user=user, action_flag=CHANGE, action_time=NOW - timedelta(days=1000))

    assert csv_export.delete_old_log(now=NOW + timedelta(days=364)) == 0
    assert csv_export.delete_old_log(now=NOW + timedelta(days=365)) == 1
    assert LogEntry.objects.get().action_flag == CHANGE
