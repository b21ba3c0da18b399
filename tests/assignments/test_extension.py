"""Extension of deadlines: what decides then, what stays as it was, and how long links last."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from bursary.access.links import LinkExpired
from bursary.access.models import Role
from bursary.assignments import cancellation, derived_audit, expiry, extension, signed_links
from bursary.assignments.choices import ActionType, ExpiryReason, State
from bursary.assignments.extension import Extension, ExtensionRefusal
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget
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
    given_run,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
AGE = NOW + 90 * DAY
LATER = NOW + 120 * DAY


def extend(
    *assignments: LearnerContentAssignment, until: datetime = LATER, now: datetime = NOW
) -> extension.ExtensionResult:
    budget = Budget.objects.select_related("customer").get(pk=assignments[0].budget_id)
    return extension.extend(budget, uuids=[one.uuid for one in assignments], until=until, now=now)


def deadline_of(assignment: LearnerContentAssignment) -> tuple[datetime, str]:
    row = LearnerContentAssignment.objects.get(pk=assignment.pk)
    assert derived_audit.audit(clock=lambda: NOW).differences == []
    return row.expires_at, row.expires_reason


def test_a_dry_run_finds_the_same_and_changes_nothing() -> None:
    row, cancelled = given_assignment(), given_assignment()
    cancellation.cancel(cancelled.budget, uuids=[cancelled.uuid], now=NOW)

    for one in (row, cancelled):
        before = (deadline_of(one), timeline(one))
        dry = extension.extend(one.budget, uuids=[one.uuid], until=LATER, now=NOW, dry_run=True)
        assert (deadline_of(one), timeline(one)) == before
        assert dry == extend(one)


@pytest.mark.on_every_engine
def test_an_extension_past_the_opening_of_another_run_lasts_until_that_closes() -> None:
    course = given_content(with_run=False)
    given_run(course, "course-v1:R1", enroll_by=NOW + 60 * DAY)
    given_run(course, "course-v1:R2", enroll_start=NOW + 100 * DAY, enroll_by=NOW + 110 * DAY)
    allocate(given_budget(), course, ALICE)
    row = LearnerContentAssignment.objects.get()
    assert deadline_of(row) == (NOW + 60 * DAY, "ENROLLMENT_DATE_PASSED")

    extend(row)

    assert deadline_of(row) == (NOW + 110 * DAY, "ENROLLMENT_DATE_PASSED")


@pytest.mark.on_every_engine
def test_an_extension_takes_the_place_of_age_and_due_date() -> None:
    old = given_assignment()
    allocate(old.budget, given_content(), BOB, due_date=NOW + 5 * DAY)
    due = LearnerContentAssignment.objects.latest("pk")

    done = extend(old, due)

    assert done.extended == [
        Extension(old.uuid, AGE, LATER, ExpiryReason.EXTENSION),
        Extension(due.uuid, NOW + 5 * DAY, LATER, ExpiryReason.EXTENSION),
    ]
    assert deadline_of(old) == deadline_of(due) == (LATER, "EXTENSION_PASSED")


def test_the_timeline_has_the_old_and_the_new_deadline_and_the_administrator() -> None:
    assignment = given_assignment()
    ada = given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer)

    extension.extend(assignment.budget, uuids=[assignment.uuid], until=LATER, now=NOW, actor=ada)

    fact = action_of(assignment, ActionType.DEADLINE_EXTENDED)
    assert (fact.actor, fact.completed_at) == (ada, NOW)
    assert fact.detail == (
        "From Sunday, 31 May 2026, 11:00 (Madrid time) to Tuesday, 30 June 2026, 11:00 (Madrid time): "
        "as an administrator chose."
    )


@pytest.mark.on_every_engine
def test_the_end_of_enrolment_still_binds_and_is_named() -> None:
    closes = NOW + 100 * DAY
    assignment = given_assignment(content=given_content(enroll_by=closes))

    done = extend(assignment)

    assert [(one.new, one.decided_by) for one in done.extended] == [(closes, ExpiryReason.ENROLL_BY)]
    assert deadline_of(assignment) == (closes, ExpiryReason.ENROLL_BY)
    assert "enrolment closes then" in action_of(assignment, ActionType.DEADLINE_EXTENDED).detail


@pytest.mark.parametrize(
    ("budget", "content", "refusal"),
    [
        ({}, {"enroll_by": NOW + 30 * DAY}, ExtensionRefusal.BOUND_BY_ENROLMENT),
        ({}, {"end_date": NOW + 30 * DAY}, ExtensionRefusal.BOUND_BY_ENROLMENT),
        ({"ends_at": NOW + 30 * DAY}, {}, ExtensionRefusal.BOUND_BY_BUDGET),
    ],
)
def test_what_ends_by_its_content_or_budget_is_refused_and_stays_as_it_was(
    budget: dict[str, Any], content: dict[str, Any], refusal: ExtensionRefusal
) -> None:
    assignment = given_assignment(given_budget(**budget), given_content(**content))
    before = deadline_of(assignment)

    done = extend(assignment)

    assert (done.extended, done.refused) == ([], {assignment.uuid: refusal})
    assert deadline_of(assignment) == before
    assert LearnerContentAssignment.objects.get(pk=assignment.pk).extended_until is None
    assert ("deadline_extended", "done") not in timeline(assignment)


@pytest.mark.on_every_engine
def test_an_extension_that_a_date_forbids_leaves_the_deadline_and_what_it_depends_on(
    subtests: pytest.Subtests,
) -> None:
    rows = LearnerContentAssignment.objects.order_by("pk")
    opens_later = (100, 110)  # days after which enrolment in another run of the course opens and closes
    for ends, due, closes, refusal in (
        (60, None, 70, ExtensionRefusal.BOUND_BY_BUDGET),
        (90, None, 99, ExtensionRefusal.BOUND_BY_BUDGET),  # when the allocation reaches its greatest age
        (30, 30, 30, ExtensionRefusal.BOUND_BY_ENROLMENT),
        (98, None, 50, ExtensionRefusal.BOUND_BY_ENROLMENT),
    ):
        with subtests.test(ends=ends, due=due, closes=closes):
            budget, course = given_budget(ends_at=NOW + ends * DAY), given_content(with_run=False)
            given_run(course, enroll_by=NOW + closes * DAY)
            opens, closes_later = (NOW + days * DAY for days in opens_later)
            given_run(course, f"{course.content_key}+R2", enroll_start=opens, enroll_by=closes_later)
            allocate(budget, course, ALICE, due_date=due and NOW + due * DAY)
            row = rows.get(budget=budget)
            before = rows.values().get(budget=budget)

            assert extend(row, now=NOW + DAY).refused == {row.uuid: refusal}

            assert rows.values().get(budget=budget) == before
    assert derived_audit.audit(clock=lambda: NOW).differences == []


@pytest.mark.on_every_engine
def test_a_refused_extension_does_not_bring_a_deadline_forward_that_had_drifted() -> None:
    drifted = given_assignment(content=given_content(enroll_by=NOW + 30 * DAY))
    row = LearnerContentAssignment.objects.filter(pk=drifted.pk)
    row.update(expires_at=NOW + 60 * DAY)
    before = row.values().get()
    other = given_assignment(drifted.budget)

    done = extend(drifted, other, now=NOW + DAY)

    assert done.refused == {drifted.uuid: ExtensionRefusal.BOUND_BY_ENROLMENT}
    assert row.values().get() == before
    row.update(expires_at=NOW + 30 * DAY)
    assert deadline_of(other) == (LATER, "EXTENSION_PASSED")


def test_a_date_that_is_not_later_is_refused() -> None:
    assignment = given_assignment()
    assert extend(assignment, until=AGE).refused == {assignment.uuid: ExtensionRefusal.NOT_LATER}
    assert extend(assignment).refused == {}
    assert extend(assignment).refused == {assignment.uuid: ExtensionRefusal.NOT_LATER}  # repeated


def test_what_has_expired_is_not_revived() -> None:
    before_the_sweep, swept = given_assignment(), given_assignment()
    expired = {ExtensionRefusal.EXPIRED}
    assert {*extend(before_the_sweep, now=AGE).refused.values()} == expired
    expiry.expire_due(now=AGE)
    assert {*extend(swept, now=AGE).refused.values()} == expired
    assert LearnerContentAssignment.objects.get(pk=swept.pk).state == State.EXPIRED


def test_the_others_are_named_with_their_state_and_the_rest_is_extended() -> None:
    budget = given_budget()
    cancelled, fine, foreign = (
        given_assignment(budget),
        given_assignment(budget, address=BOB),
        given_assignment(),
    )
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=NOW)

    done = extend(cancelled, fine, foreign)

    assert [one.assignment for one in done.extended] == [fine.uuid]
    assert done.refused == {cancelled.uuid: "cancelled", foreign.uuid: "unknown"}


@pytest.mark.on_every_engine
def test_an_extended_assignment_expires_at_its_new_deadline_and_a_change_of_the_budget_keeps_it() -> None:
    assignment = given_assignment()
    extend(assignment)
    terms.change(assignment.budget, now=NOW, terms={"allocation_age_days": 10})
    assert deadline_of(assignment) == (LATER, ExpiryReason.EXTENSION)
    assert expiry.expire_due(now=LATER - DAY).done == 0
    assert expiry.expire_due(now=LATER).done == 1


def test_allocating_again_begins_without_the_extension() -> None:
    assignment = given_assignment()
    extend(assignment)
    expiry.expire_due(now=LATER)
    assert assignment.content
    allocate(assignment.budget, assignment.content, ALICE, now=LATER)
    row = LearnerContentAssignment.objects.get(pk=assignment.pk)
    assert (row.extended_until, row.expires_at) == (None, LATER + 90 * DAY)


def test_a_link_in_an_earlier_mail_lasts_as_long_as_the_new_deadline() -> None:
    assignment = given_assignment()
    deliver()
    token = signed_links.token_for(assignment, address=ALICE, now=NOW)
    at = AGE + DAY
    with pytest.raises(LinkExpired):
        signed_links.opened(token, now=at)

    extend(assignment)

    assert signed_links.opened(token, now=at) == assignment
    with pytest.raises(LinkExpired):
        signed_links.opened(token, now=LATER)
