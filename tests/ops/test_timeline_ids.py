"""`bursary timeline` takes every id that logs and mails name."""

import json
import logging
import re
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bursary.access.models import AccountAddress, learner_key
from bursary.assignments import (
    address_corrections,
    cancellation,
    declining,
    erasure,
    expiry,
    redemption,
)
from bursary.assignments.choices import ActionType
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.ledger import LedgerError
from bursary.events import inbox
from bursary.events.models import EventKind, EventSource
from bursary.lib.leases import NOT_BEFORE
from bursary.ops import scheduler, timeline_ids
from bursary.replica.models import CatalogListing
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def test_a_providers_name_is_known_for_thirty_days() -> None:
    assignment = given_assignment()
    deliver()
    name = action_of(assignment, ActionType.LEARNER_LINKED).provider_ref

    assert list(timeline_ids.find(name, now=NOW + timedelta(days=30))) == [assignment]
    assert list(timeline_ids.find(name, now=NOW + timedelta(days=31))) == []


@pytest.mark.sqlite_only
@pytest.mark.parametrize("text", [str(UUID(int=0)), "a provider's name", "17", "no@one.example", CAROL])
def test_no_id_is_looked_for_in_all_that_there_is(text: str) -> None:
    own, corrected = given_assignment(address=BOB), given_assignment(address=CAROL)
    address_corrections.correct_pair(CAROL, ALICE, now=NOW)
    address_corrections.correct_pair(BOB, CAROL, now=NOW)
    with CaptureQueriesContext(connection) as queries:
        found = set(timeline_ids.find(text, now=NOW))
    assert found == ({own, corrected} if text == CAROL else set())
    for query in queries.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = [str(row[-1]) for row in cursor.fetchall()]
        assert not [line for line in plan if line.startswith("SCAN")], (query["sql"], plan)


@pytest.mark.only_on("postgresql", because="SQLite takes a query for an alternative")
def test_what_was_corrected_from_an_address_is_found_by_indexes_together_with_what_has_it() -> None:
    given_assignment(address=BOB)
    address_corrections.correct_pair(BOB, ALICE, now=NOW)
    with connection.cursor() as cursor:
        # Of a table with few rows, reading the whole of it, or of an index, would be the quickest.
        for whole in ("seqscan", "indexscan", "indexonlyscan"):
            cursor.execute(f"SET LOCAL enable_{whole} = off")
    plan = timeline_ids.find(BOB, now=NOW).order_by().explain()
    # Several indexes begin with the same column: which of them is used depends on the statistics.
    assert "BitmapOr" in plan, plan
    assert plan.count("Index Cond") == len(("mailbox_key", "learner_key", "id")), plan
    assert "Seq Scan" not in plan, plan


def shown(text: object) -> Any:
    answer = StringIO()
    call_command("timeline", "--json", str(text), stdout=answer)
    return json.loads(answer.getvalue())


@pytest.fixture
def accepted() -> LearnerContentAssignment:
    """An assignment with money spent and mails sent, beside another learner's."""
    assignment = given_assignment()
    given_assignment(address=BOB)
    deliver()
    redemption.begin(assignment, now=NOW)
    deliver()
    assignment.refresh_from_db()
    return assignment


def test_each_id_of_an_assignment_means_it(mail: MailServer, accepted: LearnerContentAssignment) -> None:
    notified = action_of(accepted, ActionType.NOTIFIED)
    linked = action_of(accepted, ActionType.LEARNER_LINKED)
    for text in (
        accepted.uuid,
        accepted.pk,
        accepted.transaction_uuid,
        accepted.ledger_key,
        notified.uuid,
        notified.provider_ref,  # the mail's Message-ID
        f"{notified.uuid}.eml",
        f"action={notified.uuid}",
        linked.provider_ref,
    ):
        assert shown(text)["assignment"]["uuid"] == str(accepted.uuid), text


def test_the_id_of_a_log_line_means_the_assignment(caplog: pytest.LogCaptureFixture) -> None:
    assignment = given_assignment(address="one@nowhere.invalid")
    with caplog.at_level(logging.WARNING):
        deliver()
    (line,) = [record.getMessage() for record in caplog.records]
    named = re.search(r"action=(\S+)", line)
    assert named is not None
    assert shown(named[1])["assignment"]["uuid"] == str(assignment.uuid)


@pytest.mark.on_every_engine
def test_a_batch_and_a_notice_list_their_assignments() -> None:
    budget, content = given_budget(), given_content()
    batch = allocate(budget, content, ALICE, BOB).batch
    given_assignment(content=given_content("other+1"))
    notice = AdministratorNotice.objects.create(
        budget=budget, content=content, assignments=2, no_expiry_before=NOW, created=NOW
    )
    expected = {str(one.uuid) for one in LearnerContentAssignment.objects.filter(budget=budget)}
    for one in (batch, notice):
        listed = shown(one.uuid)
        assert listed["count"] == 2
        assert {row["uuid"] for row in listed["assignments"]} == expected
        assert {row["recent_action_at"] for row in listed["assignments"]} == {"2026-03-02T09:00:00Z"}
        answer = StringIO()
        call_command("timeline", str(one.uuid), stdout=answer)
        heading, *lines = answer.getvalue().splitlines()
        assert heading == "2 assignments, assigned or reminded (Madrid time):"
        assert [line[:20] for line in lines] == ["2026-03-02 10:00:00 "] * 2


@pytest.mark.on_every_engine
def test_an_address_lists_what_its_learner_was_assigned_by_any_address_the_latest_action_first() -> None:
    learner = given_user(email=ALICE)
    AccountAddress.objects.create(
        user=learner, address="alice@home.example", learner_key=learner_key("alice@home.example")
    )
    older = given_assignment()
    newer = given_assignment(address="alice@home.example", content=given_content("other+1"))
    LearnerContentAssignment.objects.filter(pk=newer.pk).update(recent_action_at=NOW + timedelta(days=1))
    given_assignment(address=BOB)

    for address in (ALICE, ALICE.upper(), "alice@home.example"):
        assert [row["uuid"] for row in shown(address)["assignments"]] == [str(newer.uuid), str(older.uuid)]


@pytest.mark.on_every_engine
def test_a_list_keeps_apart_what_was_declined_and_what_was_cancelled() -> None:
    cancelled, declined = given_assignment(), given_assignment(content=given_content("other+1"))
    cancellation.cancel(cancelled.budget, uuids=[cancelled.uuid], now=NOW)
    declining.decline(declined, reason="No time", now=NOW)

    answer = StringIO()
    call_command("timeline", ALICE, stdout=answer)
    _heading, *lines = answer.getvalue().splitlines()

    assert {line.split()[2]: line.split()[-1] for line in lines} == {
        str(cancelled.uuid): "cancelled",
        str(declined.uuid): "declined",
    }
    listed = {row["uuid"]: (row["state"], row["declined"]) for row in shown(ALICE)["assignments"]}
    assert listed == {str(cancelled.uuid): ("cancelled", False), str(declined.uuid): ("cancelled", True)}


@pytest.mark.on_every_engine
def test_an_address_that_was_corrected_is_found_for_thirty_days_until_it_is_erased() -> None:
    once, twice = given_assignment(address=BOB), given_assignment(address=CAROL)
    longer = given_assignment(address=f"not-{BOB}")
    address_corrections.correct_pair(BOB, ALICE, now=NOW)
    address_corrections.correct_pair(CAROL, "carla@learners.example", now=NOW)
    address_corrections.correct_pair("carla@learners.example", "carole@learners.example", now=NOW)
    address_corrections.correct_pair(longer.learner_email, f"{BOB}.example", now=NOW)
    declined = given_assignment(address="dora@learners.example")
    declining.decline(declined, reason=f"From {BOB} to {ALICE}.", now=NOW)
    month = timedelta(days=30)

    assert shown(f" {BOB.upper()}")["assignment"]["uuid"] == str(once.uuid)
    for address in (CAROL, "carla@learners.example", "carole@learners.example"):
        assert shown(address)["assignment"]["uuid"] == str(twice.uuid)
    assert list(timeline_ids.find(BOB, now=NOW + month)) == [once]
    assert list(timeline_ids.find(BOB, now=NOW + month + timedelta(seconds=1))) == []

    erasure.forget(ALICE, now=NOW, remove=lambda _mails: 0)
    assert list(timeline_ids.find(BOB, now=NOW)) == []


@pytest.mark.on_every_engine
def test_what_was_corrected_from_an_address_is_listed_with_what_it_still_has() -> None:
    accepted, latest, earlier = (given_assignment(address=BOB) for _ in range(3))
    redemption.begin(accepted, now=NOW)
    deliver()
    given_assignment(address=CAROL)
    address_corrections.correct_pair(BOB, ALICE, now=NOW)
    for hours, one in enumerate((latest, accepted, earlier)):
        at = NOW - timedelta(hours=hours)
        LearnerContentAssignment.objects.filter(pk=one.pk).update(recent_action_at=at)

    listed = shown(BOB)

    assert [(row["uuid"], row["learner_email"], row["state"]) for row in listed["assignments"]] == [
        (str(latest.uuid), ALICE, "allocated"),
        (str(accepted.uuid), BOB, "accepted"),
        (str(earlier.uuid), ALICE, "allocated"),
    ]
    assert [row["uuid"] for row in shown(ALICE)["assignments"]] == [str(latest.uuid), str(earlier.uuid)]
    month = timedelta(days=30, seconds=1)
    assert list(timeline_ids.find(BOB, now=NOW + month)) == [accepted]


def test_an_address_with_one_assignment_has_its_timeline() -> None:
    assignment = given_assignment(address=BOB)
    assert shown(BOB)["assignment"]["uuid"] == str(assignment.uuid)


@pytest.mark.on_every_engine
@pytest.mark.parametrize(
    "text", ["", "nothing", "4711", "nobody@x.example", "00000000-0000-4000-8000-000000000000", "9" * 30]
)
def test_what_means_nothing_is_said_to_be_unknown(text: str) -> None:
    given_assignment()
    with pytest.raises(CommandError, match=re.escape(f"Nothing is found by {text}. Give the uuid of")):
        call_command("timeline", text)


def test_the_help_names_the_same_ids_as_the_error() -> None:
    with pytest.raises(CommandError) as unknown:
        call_command("timeline", "nothing")
    options = load_command_class("bursary.ops", "timeline").create_parser("bursary", "timeline")._actions
    (named,) = (one.help for one in options if one.dest == "id")
    assert str(named).removesuffix(".").lower() in str(unknown.value).lower()


@pytest.mark.on_every_engine
def test_a_failed_batch_is_logged_with_a_uuid_that_lists_the_budgets_assignments_latest_action_first(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = given_budget()
    earlier, latest = (given_assignment(budget=budget, address=address) for address in (ALICE, BOB))
    given_assignment(content=given_content("other+1"), budget=given_budget())
    LearnerContentAssignment.objects.filter(pk=earlier.pk).update(recent_action_at=NOW - timedelta(hours=1))

    def refuse(*_args: Any, **_more: Any) -> None:
        raise LedgerError("The books do not agree.")

    monkeypatch.setattr(ledger, "release", refuse)
    with caplog.at_level(logging.WARNING):
        expiry.expire_due(now=NOW + timedelta(days=400))
    named = re.findall(r"in budget (\S+) failed", caplog.text)
    assert str(budget.uuid) in named
    listed = shown(budget.uuid)
    assert [row["uuid"] for row in listed["assignments"]] == [str(latest.uuid), str(earlier.uuid)]


def given_event(event_id: str, kind: EventKind, **payload: object) -> None:
    inbox.receive(event_id, source=EventSource.WEBHOOK, kind=kind, payload=payload, now=NOW)


@pytest.mark.on_every_engine
def test_an_event_means_the_assignment_of_its_money_or_its_mail(accepted: LearnerContentAssignment) -> None:
    linked = action_of(accepted, ActionType.LEARNER_LINKED)
    notified = action_of(accepted, ActionType.NOTIFIED)
    given_event("msg_1", EventKind.TRANSACTION_REVERSED, transaction_uuid=str(accepted.transaction_uuid))
    given_event("msg_2", EventKind.MAIL_REPORTED, mail=str(notified.uuid), provider_ref="")
    given_event("msg_3", EventKind.MAIL_REPORTED, mail="", provider_ref=linked.provider_ref)
    uuid = "1c2ab0b1-37bb-4d35-9d3d-f6c1b8e1a1ff"  # a sender may choose one
    given_event(uuid, EventKind.MAIL_REPORTED, mail=str(notified.uuid), provider_ref="")
    for text in ("msg_1", "msg_2", "msg_3", uuid):
        assert shown(text)["assignment"]["uuid"] == str(accepted.uuid), text


@pytest.mark.on_every_engine
def test_an_id_without_a_timeline_is_answered_with_the_command_for_it() -> None:
    budget, catalog = given_budget(), UUID(int=7)
    CatalogListing.objects.create(catalog_uuid=catalog, due_at=NOW, early=NOT_BEFORE)
    scheduler.prepare(scheduler.TASKS, now=NOW)
    given_event("msg_1", EventKind.CONTENT_CHANGED, content_keys=["edX+DemoX"])
    inbox.set_aside("stream/1-0", source=EventSource.BUS, error="It has no key.", now=NOW)
    for text, answer in {
        "msg_1": "`bursary explain_content KEY` answers for its content: edX\\+DemoX",
        "stream/1-0": "This is an event, unreadable: unreadable. It has no key.",
        "expire": "This is a scheduled task: `bursary status --json`",
        f"catalog={catalog}": "Catalog listings in the admin has its last reading and error, and "
        f"`bursary refresh_content --catalog {catalog}`",
        str(budget.uuid): "This is a budget, and nothing has been assigned from it.",
        "user=5": "Users and accounts are in the admin, by number.",
    }.items():
        with pytest.raises(CommandError, match=answer):
            call_command("timeline", text)
