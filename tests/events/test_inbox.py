"""The inbox: everything heard is kept once, applied until it is settled, and stops nothing else."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
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


def told(
    payload: Mapping[str, object], kind: EventKind = EventKind.CONTENT_CHANGED, *, event_id: str = ""
) -> InboxEvent:
    event_id = event_id or str(uuid4())
    assert inbox.receive(event_id, source=EventSource.BUS, kind=kind, payload=payload, now=NOW)
    return InboxEvent.objects.get(event_id=event_id)


def told_of_reversal(transaction_uuid: UUID | None) -> InboxEvent:
    return told({"transaction_uuid": str(transaction_uuid)}, EventKind.TRANSACTION_REVERSED)


def apply(after: timedelta = timedelta(0), *, most: int = 500) -> dict[str, int]:
    return inbox.apply_due(clock=lambda: NOW + after, most=most)


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


def test_hearing_is_one_write_and_does_nothing_else(writes: list[str]) -> None:
    content = given_content("RiversideX+T7", due_at=NOW + DAY)
    writes.clear()
    told({"content_keys": [content.content_key]})
    assert [sql.split('"')[1] for sql in writes] == [InboxEvent._meta.db_table]
    content.refresh_from_db()
    assert (content.due_at, content.expected_since) == (NOW + DAY, None)


def test_what_is_told_twice_is_one_event_and_the_first_word_holds() -> None:
    event = told({"content_keys": ["RiversideX+T7"]}, event_id="one")
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
def test_told_at_once_by_many_it_is_still_one() -> None:
    def tell() -> bool:
        return inbox.receive(
            "one", source=EventSource.BUS, kind=EventKind.CONTENT_CHANGED, payload={}, now=NOW
        )

    assert sorted(map(str, together([tell] * 4))) == ["False", "False", "False", "True"]


def test_a_row_that_is_wrong_is_not_taken_for_one_that_is_known() -> None:
    event = InboxEvent(source="bus", event_id="one", kind="content.changed", received_at=NOW)
    with pytest.raises(IntegrityError):
        inbox._keep(event)


def test_changed_content_is_wanted_until_it_changes_a_run_by_its_course() -> None:
    course = given_content("RiversideX+T7", due_at=NOW + DAY)
    event = told({"content_keys": [RUN]})
    assert apply(MINUTE) == {"wanted": 1}
    course.refresh_from_db()
    assert (course.due_at, course.expected_since) == (NOW + MINUTE, NOW + MINUTE)
    assert (outcome(event), event.settled_at, event.due_at) == ("wanted", NOW + MINUTE, None)
    assert apply(HOUR) == {}


def test_content_that_nobody_has_is_said_so() -> None:
    event = told({"content_keys": ["NobodyX+N1", "", "no key at all"]})
    apply()
    assert outcome(event) == EventOutcome.NOTHING_HELD
    assert not ContentMetadata.objects.exists()


def test_a_reversed_transaction_gives_the_money_back_once() -> None:
    assignment = given_accepted()
    first, second = (told_of_reversal(assignment.transaction_uuid) for _ in range(2))
    assert apply() == {"reversed": 1, "already_reversed": 1}
    assignment.refresh_from_db()
    assignment.budget.refresh_from_db()
    assert (assignment.state, assignment.budget.spent_cents) == (State.REVERSED, 0)
    assert timeline(assignment).count((ActionType.REVERSED, "done")) == 1
    assert (outcome(first), outcome(second)) == ("reversed", "already_reversed")


def test_a_late_reversal_leaves_the_next_allocation_alone() -> None:
    assignment = given_accepted()
    spent = assignment.transaction_uuid
    told_of_reversal(spent)
    apply()
    allocate(assignment.budget, assignment.content, assignment.learner_email, now=NOW)  # type: ignore[arg-type]  # has one
    late = told_of_reversal(spent)
    apply()
    assignment.refresh_from_db()
    assert (outcome(late), assignment.state) == ("already_reversed", State.ALLOCATED)
    assert assignment.budget.account.budgets.get().spent_cents == 0


def test_a_reversal_waits_while_its_assignment_is_being_redeemed() -> None:
    assignment = given_assignment()
    action = redemption.begin(assignment, now=NOW)
    # The money is spent, and whoever did it died before the assignment heard of it.
    spent = ledger.spend(assignment.budget, cents=PRICE, key=assignment.spending_key, now=NOW)
    event = told_of_reversal(spent.uuid)
    assert apply() == {"postponed": 1}
    assert (outcome(event), event.last_error) == (
        "",
        "No assignment was paid by this transaction, so far.",
    )
    redemption.fulfil(action, now=NOW)
    assert apply(MINUTE) == {"reversed": 1}
    assert LedgerEntry.objects.get().state == LedgerEntryState.REVERSED


def test_an_unknown_transaction_is_asked_about_ever_more_seldom_for_a_day() -> None:
    event = told_of_reversal(uuid4())
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


def test_a_broken_event_stops_no_other_and_is_given_up_after_a_day(caplog: pytest.LogCaptureFixture) -> None:
    broken = told({"keys": "of another sender"})
    given_content("RiversideX+T7")
    healthy = told({"content_keys": ["RiversideX+T7"]})
    assert apply() == {"broken": 1, "wanted": 1}
    assert (outcome(broken), outcome(healthy)) == ("", "wanted")
    assert "broke: KeyError" in caplog.text
    apply(DAY)
    assert (outcome(broken), broken.last_error) == ("failed", "KeyError: 'content_keys'")


def test_who_died_applying_is_replaced_when_the_lease_ends() -> None:
    given_content("RiversideX+T7")
    event = told({"content_keys": ["RiversideX+T7"]})
    assert inbox._claim(event, now=NOW)
    assert apply(inbox.LEASE - MINUTE) == {}
    assert apply(inbox.LEASE) == {"wanted": 1}


def test_who_outlived_the_lease_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    event = told({"content_keys": []})

    def slow(*_what: object, **_more: object) -> EventOutcome:
        monkeypatch.setattr(handlers, "apply", lambda *_what, **_more: EventOutcome.NOTHING_HELD)
        apply(inbox.LEASE)
        return EventOutcome.WANTED

    monkeypatch.setattr(handlers, "apply", slow)
    apply()
    assert outcome(event) == EventOutcome.NOTHING_HELD


def test_a_tick_does_a_bounded_part_oldest_first() -> None:
    events = [told({"content_keys": []}, event_id=str(number)) for number in range(5)]
    assert apply(most=3) == {"nothing_held": 3}
    assert [bool(outcome(event)) for event in events] == [True, True, True, False, False]


def test_the_clock_applies_events_and_forgets_those_settled_long_ago() -> None:
    event = told({"content_keys": []})
    waiting = told_of_reversal(uuid4())
    assert "events" in scheduler.run_due(clock=lambda: NOW)
    assert outcome(event) == "nothing_held"
    assert inbox.forget(now=NOW + 30 * DAY - MINUTE) == 0
    assert inbox.forget(now=NOW + 30 * DAY) == 1
    assert InboxEvent.objects.get() == waiting


def test_where_cron_is_the_clock_a_command_applies_them() -> None:
    told({"content_keys": []})
    counted, said = StringIO(), StringIO()
    call_command("apply_events", dry_run=True, stdout=counted)
    call_command("apply_events", json=True, stdout=said)
    assert counted.getvalue() == "1 due.\n"
    assert json.loads(said.getvalue()) == {"dry_run": False, "nothing_held": 1}


def test_what_cannot_be_read_is_kept_for_people() -> None:
    for _ in range(2):
        inbox.set_aside("a-stream/1-0", source=EventSource.BUS, error="No\0 type.", now=NOW)
    event = InboxEvent.objects.get()
    assert (event.outcome, event.last_error, event.due_at) == ("unreadable", "No type.", None)
    assert apply() == {}
