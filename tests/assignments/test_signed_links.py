"""The link in a learner's mails: what it opens, and everything that ends it."""

from datetime import datetime, timedelta, timezone

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.access.links import LinkExpired, LinkRefused, LinkRevoked
from bursary.assignments import actions, address_corrections, redemption, signed_links, unsubscribing
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import moments
from tests.world import ALICE, BOB, NOW, action_of, allocate, deliver, given_assignment, given_user, timeline

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)
TOO_LATE = NOW + timedelta(days=15)


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    return given_assignment()


@pytest.fixture
def token(assignment: LearnerContentAssignment) -> str:
    """Return the token of a mail that named an earlier deadline, which was moved since."""
    deadline, assignment.expires_at = assignment.expires_at, NOW + timedelta(days=3)
    token = signed_links.token_for(assignment, address=ALICE, now=NOW)
    assignment.expires_at = deadline
    return token


def revoked(token: str) -> bool:
    """Return whether the token neither opens the page nor answers nor brings a new link."""
    for use in (signed_links.opened, signed_links.opened_and_locked, signed_links.renew):
        try:
            use(token, now=LATER)
        except LinkRevoked:
            continue
        return False
    return True


def test_a_link_opens_its_assignment(assignment: LearnerContentAssignment, token: str) -> None:
    assert signed_links.opened(token, now=LATER) == assignment
    assert signed_links.opened_and_locked(token, now=LATER) == assignment


def test_a_link_opens_its_own_assignment_among_others(assignment: LearnerContentAssignment) -> None:
    other = given_assignment()
    assert other.pk != assignment.pk
    assert signed_links.opened(signed_links.token_for(other, address=ALICE, now=NOW), now=LATER) == other


def test_what_a_link_opens_is_read_in_one_query_and_without_the_payload(
    assignment: LearnerContentAssignment, token: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    expected = (assignment.budget.customer, assignment.content)
    with django_assert_num_queries(1):
        found = signed_links.opened(token, now=LATER)
        assert (found.budget.customer, found.content) == expected
    assert found.content is not None
    assert found.content.get_deferred_fields() == {"payload"}


def test_a_link_works_until_the_deadline_that_its_mail_names(assignment: LearnerContentAssignment) -> None:
    token = signed_links.token_for(assignment, address=ALICE, now=NOW)
    assert assignment.expires_at == NOW + timedelta(days=90)

    assert signed_links.opened(token, now=NOW + timedelta(days=90)) == assignment
    with pytest.raises(LinkExpired):
        signed_links.opened(token, now=NOW + timedelta(days=90, seconds=1))


def test_a_link_past_its_deadline_still_shows_why_until_its_age(assignment: LearnerContentAssignment) -> None:
    assignment.expires_at = NOW + timedelta(hours=1)
    token = signed_links.token_for(assignment, address=ALICE, now=NOW)

    assert signed_links.opened(token, now=NOW + timedelta(days=13)) == assignment


def test_an_address_is_the_same_however_it_is_written(assignment: LearnerContentAssignment) -> None:
    token = signed_links.token_for(assignment, address=f" {ALICE.upper()}", now=NOW)
    assert signed_links.opened(token, now=LATER) == assignment


def test_a_link_to_an_address_that_was_put_right_opens_nothing(
    assignment: LearnerContentAssignment, token: str
) -> None:
    address_corrections.correct_assignment(assignment, address=BOB, now=NOW)
    assert revoked(token)
    # Nor does one in a mail that was on its way to the old address meanwhile.
    assert revoked(signed_links.token_for(assignment, address=ALICE, now=NOW))
    assert not revoked(signed_links.token_for(assignment, address=BOB, now=NOW))


def test_a_link_to_an_address_that_comes_back_stays_closed(
    assignment: LearnerContentAssignment, token: str
) -> None:
    address_corrections.correct_assignment(assignment, address=BOB, now=NOW)
    address_corrections.correct_assignment(assignment, address=ALICE, now=LATER)
    assert revoked(token)
    assert not revoked(signed_links.token_for(assignment, address=ALICE, now=LATER))


def test_a_link_of_an_allocation_before_opens_nothing(
    assignment: LearnerContentAssignment, token: str
) -> None:
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    assert signed_links.opened(token, now=LATER) == assignment
    assert assignment.content is not None
    allocate(assignment.budget, assignment.content, ALICE)
    assert revoked(token)


def test_revoked_links_open_nothing_and_the_next_one_does(
    assignment: LearnerContentAssignment, token: str
) -> None:
    signed_links.revoke(assignment, now=LATER)
    assert revoked(token)
    assert LearnerContentAssignment.objects.get().links_revoked_at == LATER
    fresh = signed_links.token_for(LearnerContentAssignment.objects.get(), address=ALICE, now=LATER)
    assert not revoked(fresh)


def test_revoking_is_written_on_the_timeline_the_assignment_and_the_log(
    assignment: LearnerContentAssignment, caplog: pytest.LogCaptureFixture
) -> None:
    user = given_user()

    with caplog.at_level("INFO", logger="bursary.assignments.signed_links"):
        signed_links.revoke(assignment, now=LATER, actor=user)

    allocated = action_of(assignment, ActionType.ALLOCATED)
    assert allocated.modified == LATER
    moment = moments.in_words(LATER, zone=assignment.budget.customer.zone)
    assert allocated.detail == f"Its e-mail links were revoked on {moment}."
    assert "Monday, 2 March 2026, 11:00 (Madrid time)" in allocated.detail
    stored = LearnerContentAssignment.objects.get()
    for row in (stored, assignment):
        assert (row.links_revoked_at, row.modified) == (LATER, LATER)
    assert caplog.messages == [
        f"The links of an assignment were revoked: assignment={assignment.uuid} user={user.pk}"
    ]


def test_without_a_user_the_log_of_a_revocation_names_none(
    assignment: LearnerContentAssignment, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="bursary.assignments.signed_links"):
        signed_links.revoke(assignment, now=LATER)

    assert caplog.messages[0].endswith(" user=None")


def test_the_organisation_of_a_genuine_link_is_known_even_if_it_works_no_more(
    assignment: LearnerContentAssignment, token: str
) -> None:
    other = given_assignment()
    assert other.budget.customer_id != assignment.budget.customer_id
    of_a_reminder = unsubscribing.token_for(action_of(assignment, ActionType.NOTIFIED), now=NOW)
    signed_links.revoke(assignment, now=NOW)

    assert signed_links.customer_of(token) == assignment.budget.customer
    assert signed_links.customer_of(token[:-1]) is None
    assert signed_links.customer_of(of_a_reminder) is None
    assignment.actions.all().delete()
    assignment.delete()
    assert signed_links.customer_of(token) is None


def test_revoking_the_links_of_one_leaves_the_others(
    assignment: LearnerContentAssignment, token: str
) -> None:
    signed_links.revoke(given_assignment(address=BOB), now=LATER)
    assert not revoked(token)


def test_another_link_may_be_requested_once_a_day(assignment: LearnerContentAssignment, token: str) -> None:
    deliver()
    with pytest.raises(LinkExpired) as expired:
        signed_links.opened(token, now=TOO_LATE)
    assert signed_links.can_be_renewed(expired.value, now=TOO_LATE)

    asked = []
    for hours in (0, 1, 24):
        now = TOO_LATE + timedelta(hours=hours)
        asked.append(signed_links.renew(token, now=now))
        deliver(now=now)

    assert asked == [True, False, True]
    rows = assignment.actions.filter(action_type=ActionType.REMINDED).order_by("pk")
    assert [(row.dedup_key, row.status, row.recipient) for row in rows] == [
        ("link-2026-03-17", Status.DONE, ALICE),
        ("link-2026-03-18", Status.DONE, ALICE),
    ]


def test_the_day_on_which_another_link_is_requested_is_one_of_utc(
    assignment: LearnerContentAssignment, token: str
) -> None:
    deliver()
    evening = datetime(2026, 3, 17, 20, tzinfo=timezone(timedelta(hours=-5)))

    assert signed_links.renew(token, now=evening)

    assert action_of(assignment, ActionType.REMINDED).dedup_key == "link-2026-03-18"


@pytest.mark.parametrize("waiting", [ActionType.NOTIFIED, ActionType.REMINDED])
def test_a_mail_that_waits_brings_the_new_link(
    assignment: LearnerContentAssignment, token: str, waiting: ActionType
) -> None:
    if waiting == ActionType.REMINDED:
        deliver()
        actions.request([assignment], [waiting], now=TOO_LATE, dedup_key="manual-1")
    before = timeline(assignment)
    assert [signed_links.renew(token, now=TOO_LATE) for _click in range(2)] == [True, True]
    assert timeline(assignment) == before


def test_a_nudge_that_waits_brings_no_link_to_answer_by(
    assignment: LearnerContentAssignment, token: str
) -> None:
    deliver()
    actions.request([assignment], [ActionType.NUDGED], now=TOO_LATE)

    assert signed_links.renew(token, now=TOO_LATE)

    assert action_of(assignment, ActionType.REMINDED).status == Status.PENDING


def test_a_link_that_still_works_brings_no_other(assignment: LearnerContentAssignment, token: str) -> None:
    deliver()
    before = timeline(assignment)
    assert signed_links.renew(token, now=LATER) is None
    assert timeline(assignment) == before


def test_no_link_is_sent_to_an_assignment_that_is_not_open(
    assignment: LearnerContentAssignment, token: str
) -> None:
    redemption.begin(assignment, now=NOW)
    with pytest.raises(LinkExpired) as expired:
        signed_links.renew(token, now=TOO_LATE)
    assert not signed_links.can_be_renewed(expired.value, now=TOO_LATE)
    assert (ActionType.REMINDED, Status.PENDING) not in timeline(assignment)


def test_no_link_is_sent_from_the_deadline_on(assignment: LearnerContentAssignment, token: str) -> None:
    assert assignment.expires_at == NOW + timedelta(days=90)
    with pytest.raises(LinkExpired):
        signed_links.renew(token, now=NOW + timedelta(days=90))


def test_no_link_is_sent_while_the_budget_is_not_open_yet(
    assignment: LearnerContentAssignment, token: str
) -> None:
    Budget.objects.filter(pk=assignment.budget_id).update(starts_at=TOO_LATE + timedelta(hours=1))
    with pytest.raises(LinkExpired):
        signed_links.renew(token, now=TOO_LATE)
    assert signed_links.renew(token, now=TOO_LATE + timedelta(hours=1))


def test_the_extended_deadline_of_another_assignment_keeps_no_link_alive(token: str) -> None:
    other = given_assignment()
    LearnerContentAssignment.objects.filter(pk=other.pk).update(extended_until=other.expires_at)
    with pytest.raises(LinkExpired):
        signed_links.opened(token, now=TOO_LATE)


def test_the_extended_deadline_of_a_later_allocation_keeps_no_link_alive(
    assignment: LearnerContentAssignment, token: str
) -> None:
    LearnerContentAssignment.objects.update(cycle=2, extended_until=assignment.expires_at)
    with pytest.raises(LinkExpired):
        signed_links.opened(token, now=TOO_LATE)


def test_a_revoked_link_that_is_too_old_brings_no_other(
    assignment: LearnerContentAssignment, token: str
) -> None:
    signed_links.revoke(assignment, now=NOW)
    with pytest.raises(LinkExpired) as expired:
        signed_links.opened(token, now=TOO_LATE)
    with pytest.raises(LinkRevoked):
        signed_links.can_be_renewed(expired.value, now=TOO_LATE)
    with pytest.raises(LinkRevoked):
        signed_links.renew(token, now=TOO_LATE)


def test_another_link_that_was_asked_for_is_not_sent_once_it_is_accepted(
    assignment: LearnerContentAssignment, token: str
) -> None:
    deliver()
    signed_links.renew(token, now=TOO_LATE)
    cancel(assignment.budget, uuids=[assignment.uuid], now=TOO_LATE)
    assert action_of(assignment, ActionType.REMINDED).status == Status.SUPERSEDED


def test_an_assignment_that_is_gone_opens_nothing(assignment: LearnerContentAssignment, token: str) -> None:
    assignment.actions.all().delete()
    assignment.delete()
    with pytest.raises(LinkRefused):
        signed_links.opened(token, now=LATER)
