"""`bursary timeline` takes every id that logs and mails name."""

import json
import logging
import re
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bursary.assignments import redemption
from bursary.assignments.choices import ActionType
from bursary.assignments.models import DeadlineNotice, LearnerContentAssignment
from bursary.ops import timeline_ids
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
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
@pytest.mark.parametrize("text", [str(UUID(int=0)), "a provider's name", "17"])
def test_no_id_is_looked_for_in_all_that_there_is(text: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert not timeline_ids.find(text, now=NOW)
    for query in queries.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = [str(row[-1]) for row in cursor.fetchall()]
        assert not [line for line in plan if line.startswith("SCAN")], (query["sql"], plan)


def shown(text: object) -> Any:
    answer = StringIO()
    call_command("timeline", "--json", str(text), stdout=answer)
    return json.loads(answer.getvalue())


def test_each_id_of_an_assignment_means_it(mail: MailServer) -> None:
    assignment = given_assignment()
    given_assignment(address=BOB)
    deliver()
    redemption.begin(assignment, now=NOW)
    deliver()
    assignment.refresh_from_db()
    notified = action_of(assignment, ActionType.NOTIFIED)
    linked = action_of(assignment, ActionType.LEARNER_LINKED)
    for text in (
        assignment.uuid,
        assignment.pk,
        assignment.transaction_uuid,
        assignment.spending_key,
        notified.uuid,
        notified.provider_ref,  # the mail's Message-ID
        f"{notified.uuid}.eml",
        f"action={notified.uuid}",
        linked.provider_ref,
    ):
        assert shown(text)["assignment"]["uuid"] == str(assignment.uuid), text


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
    notice = DeadlineNotice.objects.create(
        budget=budget, content=content, assignments=2, grace_until=NOW, created=NOW
    )
    expected = {str(one.uuid) for one in LearnerContentAssignment.objects.filter(budget=budget)}
    for one in (batch, notice):
        listed = shown(one.uuid)
        assert listed["count"] == 2
        assert {row["uuid"] for row in listed["assignments"]} == expected


@pytest.mark.on_every_engine
@pytest.mark.parametrize("text", ["", "nothing", "4711", "00000000-0000-4000-8000-000000000000", "9" * 30])
def test_what_means_nothing_is_said_to_be_unknown(text: str) -> None:
    given_assignment()
    with pytest.raises(CommandError, match="There is no assignment"):
        call_command("timeline", text)
