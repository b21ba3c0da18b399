"""The inbox: every event is stored once and applied until it is settled, and none stops another."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection

from bursary.assignments import redemption
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import LedgerEntry, LedgerEntryState
from bursary.events import handlers, inbox
from bursary.events.models import EventKind, EventOutcome, EventSource, InboxEvent
from bursary.lib import batches, leases
from bursary.ops import scheduler
from bursary.replica.models import ContentMetadata
from tests.together import together
from tests.world import NOW, PRICE, allocate, deliver, given_assignment, given_content, timeline

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RUN = "course-v1:RiversideX+T7+2026"


@pytest.fixture
def writes() -> Iterator[list[str]]:
    """The statements that change something."""
    found: list[str] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            found.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield found


def received(
    payload: Mapping[str, object],
    kind: EventKind = EventKind.CONTENT_CHANGED,
    *,
    event_id: str = "",
    now: datetime = NOW,
) -> InboxEvent:
    event_id = event_id or str(uuid4())
    assert inbox.receive(event_id, source=EventSource.BUS, kind=kind, payload=payload, now=now)
    return InboxEvent.objects.get(event_id=event_id)


def received_reversal(transaction_uuid: UUID | None) -> InboxEvent:
    return received({"transaction_uuid": str(transaction_uuid)}, EventKind.TRANSACTION_REVERSED)


def apply(after: timedelta = timedelta(0), *, limit: int = 500) -> dict[str, int]:
    return inbox.apply_due(clock=lambda: NOW + after, limit=limit)


def outcome(event: InboxEvent) -> str:
    event.refresh_from_db()
    return event.outcome


def given_accepted() -> LearnerContentAssignment:
    assignment = given_assignment()
    redemption.begin(assignment, now=NOW)
    deliver()
    assignment.refresh_from_db()
    assert assignment.state == State.ACCEPTED
    return assignment


@pytest.mark.on_every_engine
def test_receiving_is_one_write_and_changes_nothing_else(writes: list[str]) -> None:
    content = given_content("RiversideX+T7", due_at=NOW + DAY)
    writes.clear()
    received({"content_keys": [content.content_key]})
    assert [sql.replace("`", '"').split('"')[1] for sql in writes] == [InboxEvent._meta.db_table]
    content.refresh_from_db()
    assert (content.due_at, content.change_announced_at) == (NOW + DAY, None)


@pytest.mark.on_every_engine
def test_an_event_that_comes_twice_is_one_row_with_its_first_content() -> None:
    event = received({"content_keys": ["RiversideX+T7"]}, event_id="one")
    again = inbox.receive(
        "one",
        source=EventSource.BUS,
        kind=EventKind.CONTENT_CHANGED,
        payload={"content_keys": ["X"]},
        now=NOW,
    )
    elsewhere = inbox.receive(
        "one", source=EventSource.WEBHOOK, kind=EventKind.CONTENT_CHANGED, payload=event.payload, now=NOW
    )
    assert (again, elsewhere, InboxEvent.objects.count()) == (False, True, 2)
    assert InboxEvent.objects.get(source="bus").payload == event.payload


@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_received_by_many_processes_at_once_it_is_one_row() -> None:
    def receive() -> bool:
        return inbox.receive(
            "one", source=EventSource.BUS, kind=EventKind.CONTENT_CHANGED, payload={}, now=NOW
        )

    assert sorted(map(str, together([receive] * 4))) == ["False", "False", "False", "True"]


@pytest.mark.on_every_engine
def test_an_invalid_row_is_not_mistaken_for_a_known_one() -> None:
    event = InboxEvent(source="bus", event_id="one", kind="content.changed", received_at=NOW)
    with pytest.raises(IntegrityError):
        inbox._keep(event)


def test_changed_content_is_refreshed_until_it_changes_a_run_by_its_course() -> None:
    course = given_content("RiversideX+T7", due_at=NOW + DAY)
    event = received({"content_keys": [RUN]})
    assert apply(MINUTE) == {"wanted": 1}
    course.refresh_from_db()
    assert (course.due_at, course.change_announced_at) == (NOW + MINUTE, NOW + MINUTE)
    assert (outcome(event), event.settled_at, event.due_at) == ("wanted", NOW + MINUTE, None)
    assert apply(HOUR) == {}


def test_unknown_content_is_settled_as_such() -> None:
    event = received({"content_keys": ["NobodyX+N1", "", "no key at all"]})
    apply()
    assert outcome(event) == EventOutcome.NOT_IN_REPLICA
    assert not ContentMetadata.objects.exists()


def test_a_reversed_transaction_gives_the_money_back_once() -> None:
    assignment = given_accepted()
    first, second = (received_reversal(assignment.transaction_uuid) for _ in range(2))
    assert apply() == {"reversed": 1, "already_reversed": 1}
    assignment.refresh_from_db()
    assignment.budget.refresh_from_db()
    assert (assignment.state, assignment.budget.spent_cents) == (State.REVERSED, 0)
    assert timeline(assignment).count((ActionType.REVERSED, "done")) == 1
    assert (outcome(first), outcome(second)) == ("reversed", "already_reversed")


@pytest.mark.on_every_engine
def test_a_late_reversal_leaves_the_next_allocation_alone() -> None:
    assignment = given_accepted()
    spent = assignment.transaction_uuid
    received_reversal(spent)
    apply()
    allocate(assignment.budget, assignment.content, assignment.learner_email, now=NOW)  # type: ignore[arg-type]  # has one
    late = received_reversal(spent)
    apply()
    assignment.refresh_from_db()
    assert (outcome(late), assignment.state) == ("already_reversed", State.ALLOCATED)
    assert assignment.budget.account.budgets.get().spent_cents == 0


def test_a_reversal_waits_while_its_assignment_is_being_redeemed() -> None:
    assignment = given_assignment()
    action = redemption.begin(assignment, now=NOW)
    # The money is spent, and the worker died before it moved the assignment.
    spent = ledger.spend(assignment.budget, cents=PRICE, key=assignment.ledger_key, now=NOW)
    event = received_reversal(spent.uuid)
    assert apply() == {"postponed": 1}
    assert (outcome(event), event.last_error) == (
        "",
        "No assignment was paid by this transaction, so far.",
    )
    redemption.fulfil(action, now=NOW)
    assert apply(MINUTE) == {"reversed": 1}
    assert LedgerEntry.objects.get().state == LedgerEntryState.REVERSED


def test_an_unknown_transaction_is_retried_with_back_off_for_a_day() -> None:
    event = received_reversal(uuid4())
    waits, now = [], timedelta(0)
    while not outcome(event):
        apply(now)
        event.refresh_from_db()
        if event.due_at:
            waits.append(event.due_at - (NOW + now))
            now = event.due_at - NOW
    assert waits[:3] == [MINUTE / 2, MINUTE, 2 * MINUTE]
    assert (max(waits), len(waits) < 40) == (HOUR, True)
    assert (event.outcome, now >= DAY, now < DAY + HOUR) == ("unknown_transaction", True, True)


@pytest.mark.on_every_engine
def test_a_broken_event_stops_no_other_and_is_given_up_after_a_day(caplog: pytest.LogCaptureFixture) -> None:
    broken = received({"keys": "of another sender"})
    given_content("RiversideX+T7")
    healthy = received({"content_keys": ["RiversideX+T7"]})
    assert apply() == {"broken": 1, "wanted": 1}
    assert (outcome(broken), outcome(healthy)) == ("", "wanted")
    assert "failed: KeyError" in caplog.text
    apply(DAY)
    assert (outcome(broken), broken.last_error) == ("failed", "KeyError: 'content_keys'")


@pytest.mark.on_every_engine
def test_a_dead_workers_event_is_applied_when_its_lease_ends() -> None:
    given_content("RiversideX+T7")
    received({"content_keys": ["RiversideX+T7"]})
    leases.claim(InboxEvent.objects.all(), now=NOW, lease=inbox.LEASE, limit=1)  # and the worker dies
    assert apply(inbox.LEASE - MINUTE) == {}
    assert apply(inbox.LEASE) == {"wanted": 1}


@pytest.mark.on_every_engine
def test_a_worker_that_outlived_its_lease_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    event = received({"content_keys": []})

    def slow(*_what: object, **_more: object) -> EventOutcome:
        monkeypatch.setattr(handlers, "apply", lambda *_what, **_more: EventOutcome.NOT_IN_REPLICA)
        apply(inbox.LEASE)
        return EventOutcome.REFRESH_REQUESTED

    monkeypatch.setattr(handlers, "apply", slow)
    apply()
    assert outcome(event) == EventOutcome.NOT_IN_REPLICA


@pytest.mark.on_every_engine
def test_a_run_applies_a_bounded_number_oldest_first() -> None:
    times = [NOW - number * MINUTE for number in range(5, 0, -1)]
    events = [received({"content_keys": []}, now=time) for time in times]
    assert apply(limit=3) == {"nothing_held": 3}
    assert [bool(outcome(event)) for event in events] == [True, True, True, False, False]


def test_scheduled_tasks_apply_events_and_delete_those_settled_long_ago() -> None:
    event = received({"content_keys": []})
    waiting = received_reversal(uuid4())
    assert "events" in scheduler.run_due(clock=lambda: NOW)
    assert outcome(event) == "nothing_held"
    assert inbox.delete_old(now=NOW + 30 * DAY - MINUTE) == 0
    assert inbox.delete_old(now=NOW + 30 * DAY) == 1
    assert InboxEvent.objects.get() == waiting


def test_a_day_deletes_as_many_events_as_the_reports_of_many_mails_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """20,000 mails, at a tenth of the size: a tenth of the events, a tenth of them in a batch."""
    monkeypatch.setattr(batches, "ROWS_PER_DELETION", batches.ROWS_PER_DELETION // 10)
    mails = 2_000
    reports = [
        InboxEvent(
            source=EventSource.MAIL,
            event_id=str(number),
            kind=EventKind.MAIL_REPORTED,
            received_at=NOW,
            settled_at=NOW,
            outcome=EventOutcome.RECORDED,
        )
        for number in range(mails)
    ]
    InboxEvent.objects.bulk_create(reports, batch_size=1000)
    assert inbox.delete_old(now=NOW + 30 * DAY) == mails


def test_where_cron_runs_the_tasks_a_command_applies_them() -> None:
    received({"content_keys": []})
    counted, output = StringIO(), StringIO()
    call_command("apply_events", dry_run=True, stdout=counted)
    call_command("apply_events", json=True, stdout=output)
    assert counted.getvalue() == "1 due.\n"
    assert json.loads(output.getvalue()) == {"dry_run": False, "nothing_held": 1}


@pytest.mark.on_every_engine
def test_an_unreadable_event_is_stored_for_operators() -> None:
    for _ in range(2):
        inbox.set_aside("a-stream/1-0", source=EventSource.BUS, error="No\0 type.", now=NOW)
    event = InboxEvent.objects.get()
    assert (event.outcome, event.last_error, event.due_at) == ("unreadable", "No type.", None)
    assert apply() == {}
