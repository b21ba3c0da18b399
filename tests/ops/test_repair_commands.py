"""`bursary retry_failed`, `skip_failed` and `extend_deadlines`: counted first, done once it is confirmed."""

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from bursary.assignments import actions, extension, failures
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.ops import repair_commands
from tests.once import made_once
from tests.world import ALICE, BOB, CAROL, NOW, action_of, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)
CAUSES = {ALICE: "mail_server_unreachable", BOB: "mail_server_unreachable", CAROL: "address_rejected"}


@pytest.fixture(scope="module", autouse=True)
def _failed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A budget with three assignments; an hour ago each mail failed, two of them because of the server.

    The migrations, which each command compares with the database, are read once.
    """
    with made_once(django_db_blocker) as until_then:
        until_then.setattr(timezone, "now", lambda: LATER)
        migrations = MigrationLoader(connection)
        until_then.setattr("bursary.ops.database.MigrationLoader", lambda _connection: migrations)
        allocate(given_budget(), given_content(), *CAUSES)
        for one in LearnerContentAssignment.objects.all():
            mailed = action_of(one, ActionType.NOTIFIED)
            (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[mailed.pk])
            failure = Failure(ErrorReason.EMAIL_ERROR, CAUSES[one.learner_email], "It failed.", "")
            actions.finish(claimed, Failed(failure), now=NOW)
        yield


@pytest.fixture
def budget() -> Budget:
    return Budget.objects.get()


def run(*arguments: str) -> str:
    answer = StringIO()
    call_command(*arguments, stdout=answer)
    return answer.getvalue().strip()


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def retries() -> dict[str, str]:
    """Return the status of each answer to a failure, by address."""
    answers = LearnerContentAssignmentAction.objects.filter(retry_of__isnull=False)
    return dict(answers.values_list("assignment__learner_email", "status"))


def test_without_a_confirmed_number_they_are_counted_and_nothing_is_changed(budget: Budget) -> None:
    expected = {"dry_run": True, "count": 2, "causes": {"mail_server_unreachable": 2}, "refused": {}}
    counted = as_json("retry_failed", "--cause", "mail_server_unreachable")
    failed = counted.pop("failed")
    assert counted == expected
    by_cause = [address for address, cause in CAUSES.items() if cause == "mail_server_unreachable"]
    assert sorted(one["learner_email"] for one in failed) == sorted(by_cause)
    uuids = LearnerContentAssignment.objects.filter(learner_email__in=by_cause).values_list("uuid", flat=True)
    assert {one["assignment_uuid"] for one in failed} == {str(uuid) for uuid in uuids}
    work = [(one["action_type"], one["cause"]) for one in failed]
    assert work == [("notified", "mail_server_unreachable")] * 2
    said = run("retry_failed")
    assert said == (
        "Found 3 assignments: 1 address_rejected, 2 mail_server_unreachable. address_rejected: a retry "
        "would fail again. Correct the address, which invites the learner there: "
        "`bursary correct_address OLD NEW`. To do it, add --confirm 3."
    )
    assert retries() == {}


@pytest.mark.on_every_engine
def test_what_is_retried_takes_turns_page_by_page(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_commands, "UUIDS_PER_PAGE", 1)
    run("retry_failed", "--confirm", "3")
    again = LearnerContentAssignmentAction.objects.filter(retry_of__isnull=False).order_by("due_at")
    assert list(again.values_list("due_at", "early")) == [
        (LATER + timedelta(seconds=place), int(place > 0)) for place in range(3)
    ]


def test_what_failed_by_a_cause_is_retried(budget: Budget) -> None:
    assert run("retry_failed", "--cause", "mail_server_unreachable", "--confirm", "2") == "2 retried."
    assert retries() == {ALICE: Status.PENDING, BOB: Status.PENDING}


@pytest.mark.on_every_engine
def test_what_is_too_late_to_repeat_is_said_before_and_after_with_the_command_that_skips_it(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = LearnerContentAssignmentAction.objects.filter(error_code="address_rejected")
    rejected.update(action_type=ActionType.REMINDED, error_code="mail_server_unreachable")
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(days=90))  # past the deadline
    advice = (
        "What is too late to repeat can only be skipped once the others are repaired: `bursary skip_failed`."
    )
    one_refused = "1 assignment would be refused: 1 too_late_to_repeat."
    assert run("retry_failed") == (
        f"Found 2 assignments: 2 mail_server_unreachable. {one_refused} {advice} To do it, add --confirm 2."
    )
    counted = as_json("retry_failed")
    assert (counted["count"], counted["refused"]) == (2, {"too_late_to_repeat": 1})
    assert sorted((one["action_type"], one["refused"]) for one in counted["failed"]) == [
        ("notified", None),
        ("notified", None),
        ("reminded", "too_late_to_repeat"),
    ]
    assert [one["refused"] for one in as_json("skip_failed")["failed"]] == [None] * 3
    with pytest.raises(CommandError) as refused:
        run("retry_failed", "--confirm", "3")
    assert str(refused.value) == (
        f"Found 2 assignments, instead of 3. {one_refused} {advice} Nothing was changed."
    )
    assert run("retry_failed", "--action-type", "reminded") == f"{one_refused} {advice}"
    with pytest.raises(CommandError, match=f"nothing to do. {one_refused}"):
        run("retry_failed", "--action-type", "reminded", "--confirm", "1")
    said = run("retry_failed", "--confirm", "2")
    assert said == (
        "2 retried. Refused: 1 too_late_to_repeat; --json names them. "
        "What is too late to repeat can only be skipped: `bursary skip_failed`."
    )
    assert run("skip_failed", "--reason", "Too late.") == (
        "Found 1 assignment: 1 mail_server_unreachable. To do it, add --confirm 1."
    )


def test_another_number_than_the_confirmed_one_changes_nothing(budget: Budget) -> None:
    with pytest.raises(CommandError, match="Found 3 assignments, instead of 2"):
        run("retry_failed", "--confirm", "2")
    assert retries() == {}


def test_only_the_named_budget_is_repaired(budget: Budget) -> None:
    other = given_budget()
    assert as_json("retry_failed", "--budget", str(other.uuid))["count"] == 0
    assert as_json("retry_failed", "--budget", str(budget.uuid))["count"] == 3


@pytest.mark.on_every_engine
def test_only_the_named_assignments_are_repaired(budget: Budget) -> None:
    alice, bob, _carol = LearnerContentAssignment.objects.order_by("pk")
    ids = (str(alice.uuid), str(action_of(bob, ActionType.NOTIFIED).uuid))
    said = "Found 2 assignments: 2 mail_server_unreachable. To do it, add --confirm 2."
    assert run("retry_failed", *ids) == said
    assert run("retry_failed", ids[0], "--confirm", "1") == "1 retried."
    assert retries() == {ALICE: Status.PENDING}
    assert run("skip_failed", ids[1], "--reason", "He has left.", "--confirm", "1") == "1 skipped."
    assert run("retry_failed", *ids) == "Nothing failed that can be repaired: there is nothing to do."


def test_a_type_that_there_is_not_is_refused_with_those_that_can_be_typed(budget: Budget) -> None:
    with pytest.raises(CommandError) as refused:
        run("retry_failed", "--action-type", "bogus")
    assert "notified" in str(refused.value)
    assert "ActionType" not in str(refused.value)


def test_an_id_that_means_no_assignment_is_refused_and_nothing_is_changed(budget: Budget) -> None:
    known = str(LearnerContentAssignment.objects.earliest("pk").uuid)
    for ids, sentence in (
        ([known, "no-such-id"], "Nothing is found by no-such-id."),
        ([str(given_budget().uuid)], "This is a budget, and nothing has been assigned from it."),
        ([known] * 101, "These are 101 ids; give 100 at most."),
    ):
        with pytest.raises(CommandError, match=sentence):
            run("retry_failed", *ids, "--confirm", "1")
    assert run("retry_failed", *[known] * 100, "--confirm", "1") == "1 retried."
    assert retries() == {ALICE: Status.PENDING}


@pytest.mark.on_every_engine
def test_many_are_repaired_in_pages(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bursary.ops.repair_commands.UUIDS_PER_PAGE", 1)
    done = as_json("retry_failed", "--confirm", "3")
    assert done == {"dry_run": False, "retried": 3, "refused": {}, "not_done": []}


def test_what_a_retry_does_not_repair_is_no_caution_before_it_is_skipped(budget: Budget) -> None:
    said = run("skip_failed", "--cause", "address_rejected", "--reason", "She has left.")
    assert said == "Found 1 assignment: 1 address_rejected. To do it, add --confirm 1."


def test_counting_what_would_be_skipped_needs_no_reason_and_names_the_option(budget: Budget) -> None:
    assert run("skip_failed", "--cause", "address_rejected") == (
        "Found 1 assignment: 1 address_rejected. To do it, add --confirm 1 --reason TEXT."
    )
    assert as_json("skip_failed")["count"] == 3


def test_skipping_needs_a_reason_which_the_timeline_keeps(budget: Budget) -> None:
    with pytest.raises(CommandError, match="--reason") as refused:
        run("skip_failed", "--confirm", "3")
    assert refused.value.returncode == 2
    assert failures.to_repair().count() == 3
    assert run("skip_failed", "--cause", "address_rejected", "--reason", "They left.", "--confirm", "1") == (
        "1 skipped."
    )
    (skipped,) = LearnerContentAssignmentAction.objects.filter(status=Status.SKIPPED)
    assert (skipped.assignment.learner_email, skipped.detail) == (CAROL, "They left.")
    assert failures.to_repair().count() == 2


def test_open_deadlines_are_extended_once_their_number_is_confirmed(budget: Budget) -> None:
    before = set(LearnerContentAssignment.objects.values_list("expires_at", flat=True))
    counted = as_json("extend_deadlines", str(budget.uuid), "2026-09-30")
    # The end of that day in Madrid, where the organisation is.
    assert (counted["count"], counted["until"]) == (3, "2026-09-30T21:59:59Z")
    assert set(LearnerContentAssignment.objects.values_list("expires_at", flat=True)) == before

    said = run("extend_deadlines", str(budget.uuid), "2026-09-30", "--confirm", "3")

    assert said == "3 extended."
    extended = LearnerContentAssignment.objects.values_list("expires_at", flat=True)
    assert {f"{date:%Y-%m-%d %H:%M:%S}" for date in extended} == {"2026-09-30 21:59:59"}


def test_a_dry_run_says_how_many_deadlines_cannot_be_extended_and_why(budget: Budget) -> None:
    ending = LearnerContentAssignment.objects.get(learner_email=BOB)
    terms.change(budget, now=LATER, terms={"ends_at": ending.expires_at - timedelta(days=1)})

    counted = as_json("extend_deadlines", str(budget.uuid), "2026-09-30")

    assert (counted["count"], counted["open_assignments"]) == (0, 3)
    assert (counted["extended"], counted["refused"]) == (0, {"bound_by_budget": 3})
    said = run("extend_deadlines", str(budget.uuid), "2026-09-30")
    assert said.startswith("Of 3 open assignments, 0 would be extended: until ")
    assert "Refused: 3 bound_by_budget; --json names them. There is nothing to do." in said
    assert set(LearnerContentAssignment.objects.values_list("extended_until", flat=True)) == {None}
    types = LearnerContentAssignmentAction.objects.values_list("action_type", flat=True)
    assert ActionType.DEADLINE_EXTENDED not in types


def test_where_there_is_nothing_to_do_no_number_is_asked_for() -> None:
    LearnerContentAssignmentAction.objects.all().delete()
    other = str(given_budget().uuid)
    assert run("retry_failed") == "Nothing failed that can be repaired: there is nothing to do."
    for command in (("retry_failed",), ("extend_deadlines", other, "2026-09-30")):
        assert "--confirm" not in run(*command)
        with pytest.raises(CommandError, match="There is nothing to do"):
            run(*command, "--confirm", "0")


def test_what_cannot_be_extended_is_counted_by_its_reason_and_named(budget: Budget) -> None:
    done = as_json("extend_deadlines", str(budget.uuid), "2026-03-03")
    assert done["refused"] == {"deadline_not_later": 3}
    named = {one["assignment"] for one in done["not_done"]}
    assert named == {str(one.uuid) for one in LearnerContentAssignment.objects.all()}


def test_an_unknown_budget_or_date_is_refused_in_a_sentence(budget: Budget) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(CommandError, match=f"There is no budget {unknown}"):
        run("extend_deadlines", unknown, "2026-09-30")
    with pytest.raises(CommandError, match="Give a date"):
        run("extend_deadlines", str(budget.uuid), "soon")


def test_an_unknown_cause_is_refused_with_the_known_ones(budget: Budget) -> None:
    for command in (("retry_failed",), ("skip_failed", "--reason", "They left.")):
        with pytest.raises(CommandError, match=r"invalid choice: 'bogus'.*'mail_server_unreachable'"):
            run(*command, "--cause", "bogus")


def test_where_nothing_failed_by_a_cause_the_other_causes_are_named(budget: Budget) -> None:
    said = run("retry_failed", "--cause", "worker_died")
    assert said == ("Nothing failed by this cause. By others: 1 address_rejected, 2 mail_server_unreachable.")
    assert as_json("retry_failed", "--cause", "worker_died")["count"] == 0


def test_what_is_too_late_by_other_causes_is_counted_apart(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = LearnerContentAssignmentAction.objects.filter(status=Status.FAILED)
    failed.exclude(assignment__learner_email=ALICE).update(action_type=ActionType.REMINDED)
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(days=90))  # past the deadline
    assert run("retry_failed", "--cause", "worker_died") == (
        "Nothing failed by this cause. By others: 1 mail_server_unreachable. 2 assignments would be refused: "
        "2 too_late_to_repeat. What is too late to repeat can only be skipped once the others are repaired: "
        "`bursary skip_failed`."
    )
    failed.update(action_type=ActionType.REMINDED)
    assert run("retry_failed", "--cause", "worker_died") == (
        "Nothing failed by this cause. By others: none in time. 3 assignments would be refused: "
        "3 too_late_to_repeat. What is too late to repeat can only be skipped: `bursary skip_failed`."
    )


def test_a_failed_redemption_is_none_of_the_others_that_are_repaired_before_the_late_are_skipped(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = LearnerContentAssignmentAction.objects.filter(status=Status.FAILED)
    failed.exclude(assignment__learner_email=ALICE).update(action_type=ActionType.REMINDED)
    failed.filter(assignment__learner_email=ALICE).update(action_type=ActionType.REDEEMED)
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(days=90))  # past the deadline
    assert run("retry_failed").endswith("can only be skipped: `bursary skip_failed`.")


def test_the_number_to_confirm_is_that_of_the_deadlines_that_would_change(budget: Budget) -> None:
    later = LearnerContentAssignment.objects.filter(learner_email=BOB)
    done = extension.extend(
        budget,
        uuids=[later.get().uuid],
        until=later.get().expires_at + timedelta(days=90),
        now=LATER,
    )
    assert len(done.extended) == 1

    said = run("extend_deadlines", str(budget.uuid), "2026-07-31")

    assert "Of 3 open assignments, 2 would be extended" in said
    assert "To do it, add --confirm 2." in said
    with pytest.raises(
        CommandError, match=r"instead of 3. 1 assignment would be refused: 1 deadline_not_later. No"
    ):
        run("extend_deadlines", str(budget.uuid), "2026-07-31", "--confirm", "3")
    answer = run("extend_deadlines", str(budget.uuid), "2026-07-31", "--confirm", "2")
    assert answer.startswith("2 extended. Refused: 1 deadline_not_later")


def test_deadlines_that_are_extended_by_less_than_asked_for_are_counted(budget: Budget) -> None:
    latest = max(LearnerContentAssignment.objects.values_list("expires_at", flat=True))
    terms.change(budget, now=LATER, terms={"ends_at": latest + timedelta(days=1)})

    said = run("extend_deadlines", str(budget.uuid), "2026-09-30")
    counted = as_json("extend_deadlines", str(budget.uuid), "2026-09-30")
    answer = run("extend_deadlines", str(budget.uuid), "2026-09-30", "--confirm", "3")

    less = "By less: 3, as enrolment closes before, or the budget ends."
    assert said.endswith(f"at the latest. {less} To do it, add --confirm 3.")
    assert (counted["extended"], counted["extended_by_less"]) == (3, 3)
    assert answer == f"3 extended. {less}"


def test_content_that_is_unknown_or_not_assigned_is_said(budget: Budget) -> None:
    given_content("FreeX+202")
    with pytest.raises(CommandError, match=r"There is no content Nope\+1\."):
        run("extend_deadlines", str(budget.uuid), "2026-09-30", "--content", "Nope+1")
    assert run("extend_deadlines", str(budget.uuid), "2026-09-30", "--content", "FreeX+202") == (
        "The budget has no open assignment of FreeX+202; of other content it has 3: there is nothing to do."
    )
