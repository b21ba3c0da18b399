"""Content that learners cannot join any more, after it was assigned: administrators are notified, once."""

from collections.abc import Iterator
from datetime import datetime
from uuid import uuid4

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.assignments import administrator_notices, expiry, redemption
from bursary.assignments.choices import State
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.assignments.redemption import RedemptionRefused
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.delivery import notices
from bursary.replica.models import ContentMetadata
from tests.assignments.joinable import (
    COURSE,
    DAY,
    HOUR,
    NOW,
    RUN,
    Edit,
    closed,
    of_run,
    opening_too_late,
    over,
    over_with_a_restricted_run,
    serve,
    unmarketable,
    unpublished,
    without_runs,
)
from tests.once import made_once
from tests.replica.listing import OTHER_CATALOG, Record
from tests.smtp import MailServer
from tests.world import CATALOG, addresses, given_budget, given_user
from tests.world import allocate as allocate_from

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module", autouse=True)
def _served(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A budget with an administrator, and its catalog, which each test begins with as it was read at NOW."""
    with made_once(django_db_blocker):
        serve(now=NOW)
        budget = given_budget()
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email="ada@people.example")
        yield


@pytest.fixture
def budget() -> Budget:
    return Budget.objects.get()


def allocate(budget: Budget, key: str = COURSE, *, learners: int = 2) -> None:
    content = ContentMetadata.objects.get(content_key=key)
    allocate_from(budget, content, *addresses(learners), now=NOW, price_cents=6_200)


def notify(now: datetime) -> None:
    notices.send_due(clock=lambda: now)


def refusals(now: datetime) -> set[str]:
    """Return the reasons for which the open assignments are not redeemed."""
    reasons = set()
    for one in LearnerContentAssignment.objects.select_related("budget__customer"):
        with pytest.raises(RedemptionRefused) as refused:
            redemption.begin(one, now=now)
        reasons.add(refused.value.reason)
    return reasons


@pytest.mark.parametrize("key", [COURSE, RUN])
@pytest.mark.parametrize(
    ("edit", "reasons"),
    [
        (unpublished, ("content_not_active", "content_not_active")),
        (unmarketable, ("content_not_active", "content_not_active")),
        (without_runs, ("content_not_active", "content_not_in_catalog")),
        (opening_too_late, ("enrollment_not_open_in_time", "enrollment_not_open_in_time")),
    ],
)
def test_what_cannot_be_joined_any_more_is_in_one_mail_to_administrators(
    mail: MailServer, budget: Budget, key: str, edit: Edit, reasons: tuple[str, str]
) -> None:
    allocate(budget, key)
    reason = reasons[key == RUN]

    serve(edit, now=NOW + HOUR)
    notice = AdministratorNotice.objects.get()
    assert (notice.reason, notice.assignments, notice.no_expiry_before) == (reason, 2, None)
    notify(NOW + HOUR)
    serve(edit, now=NOW + 2 * HOUR)
    notify(NOW + 2 * HOUR)

    (sent,) = mail.received
    assert sent["To"] == "ada@people.example"
    assert "2 open assignments" in " ".join(sent["Subject"].split())
    assert list(administrator_notices.current(NOW + 30 * DAY)) == [notice]
    assert refusals(NOW + 2 * HOUR) == {reason}
    # The money stays reserved until the deadline, as before.
    assert expiry.expire_due(now=NOW + 30 * DAY).done == 0


@pytest.mark.parametrize("edit", [over, closed])
def test_an_end_brought_into_the_past_is_a_deadline_brought_forward(
    mail: MailServer, budget: Budget, edit: Edit
) -> None:
    allocate(budget)
    serve(edit, now=NOW + HOUR)
    notify(NOW + HOUR)

    notice = AdministratorNotice.objects.get()
    assert (notice.reason, notice.assignments, notice.no_expiry_before) == ("", 2, NOW + HOUR + DAY)
    assert len(mail.received) == 1
    assert expiry.expire_due(now=NOW + DAY).done == 0
    assert expiry.expire_due(now=NOW + DAY + HOUR).done == 2


@pytest.mark.parametrize("key", [COURSE, RUN])
def test_a_course_that_left_the_catalog_is_notified_of_once_its_absence_is_confirmed(
    budget: Budget, key: str
) -> None:
    allocate(budget, key)
    serve(now=NOW + HOUR, without=COURSE)
    assert not AdministratorNotice.objects.exists()
    serve(now=NOW + 3 * HOUR, without=COURSE)

    assert AdministratorNotice.objects.get().reason == "content_not_in_catalog"
    assert refusals(NOW + 3 * HOUR) == {"content_not_in_catalog"}


def test_flapping_sends_no_second_mail(mail: MailServer, budget: Budget) -> None:
    allocate(budget)
    for hours in range(1, 9):
        now = NOW + hours * HOUR
        serve(unpublished if hours % 2 else None, now=now)
        notify(now)
        assert len(administrator_notices.current(now)) == hours % 2

    assert (len(mail.received), AdministratorNotice.objects.count()) == (1, 1)


def test_what_can_be_joined_again_before_the_mail_went_out_is_in_none(
    mail: MailServer, budget: Budget
) -> None:
    allocate(budget)
    serve(unpublished, now=NOW + HOUR)
    serve(now=NOW + 2 * HOUR)
    notify(NOW + 2 * HOUR)
    assert (mail.received, AdministratorNotice.objects.count()) == ([], 0)

    serve(unpublished, now=NOW + 3 * HOUR)
    mail.go()
    notify(NOW + 3 * HOUR)
    serve(now=NOW + 4 * HOUR)
    mail.come()
    notify(NOW + 5 * HOUR)
    assert mail.received == []
    serve(unpublished, now=NOW + 6 * HOUR)
    notify(NOW + 6 * HOUR)
    assert len(mail.received) == 1


def test_a_second_time_weeks_later_is_in_another_mail(mail: MailServer, budget: Budget) -> None:
    allocate(budget)
    for now, edit in [(NOW + DAY, unpublished), (NOW + 2 * DAY, None), (NOW + 10 * DAY, unmarketable)]:
        serve(edit, now=now)
        notify(now)
    assert len(mail.received) == 2


def test_what_is_accepted_being_accepted_or_ended_is_in_no_notice(budget: Budget) -> None:
    allocate(budget, learners=3)
    accepted, accepting, cancelled = LearnerContentAssignment.objects.order_by("pk")
    with transaction.atomic():
        redemption.fulfil(redemption.begin(accepted, now=NOW), now=NOW)
    redemption.begin(accepting, now=NOW)
    LearnerContentAssignment.objects.filter(pk=cancelled.pk).update(state=State.CANCELLED)

    serve(unpublished, now=NOW + HOUR)

    assert not AdministratorNotice.objects.exists()


def test_another_budgets_catalog_decides_for_itself(budget: Budget) -> None:
    serve(now=NOW, catalog=OTHER_CATALOG)
    theirs = given_budget(catalog_uuid=OTHER_CATALOG)
    for one in (budget, theirs):
        allocate(one)
    for hours in (1, 3):
        serve(now=NOW + hours * HOUR, without=COURSE, catalog=OTHER_CATALOG)

    assert [one.budget for one in AdministratorNotice.objects.all()] == [theirs]


def test_a_budget_that_takes_a_catalog_without_the_content_is_notified(budget: Budget) -> None:
    allocate(budget)
    terms.change(budget, now=NOW + HOUR, terms={"catalog_uuid": OTHER_CATALOG})
    assert AdministratorNotice.objects.get().reason == "content_not_in_catalog"
    terms.change(budget, now=NOW + 2 * HOUR, terms={"catalog_uuid": CATALOG})
    assert not AdministratorNotice.objects.exists()


@pytest.mark.parametrize(("key", "rows"), [(COURSE, 2), (RUN, 1)])
def test_what_another_catalog_brings_to_light_of_a_shared_run_has_its_grace_and_its_notice(
    budget: Budget, key: str, rows: int
) -> None:
    """The other catalog is served another variant of the course: the run's row alone is shared."""
    allocate(budget, key)

    serve(over_with_a_restricted_run, now=NOW + HOUR, catalog=OTHER_CATALOG)

    assert ContentMetadata.objects.filter(content_key=key).count() == rows
    notice = AdministratorNotice.objects.get()
    assert (notice.budget, notice.assignments, notice.no_expiry_before) == (budget, 2, NOW + HOUR + DAY)
    assert LearnerContentAssignment.objects.filter(grace_until=NOW + HOUR + DAY).count() == 2


def test_a_shared_run_that_another_catalog_sees_unpublished_is_notified_of(budget: Budget) -> None:
    def edit(record: Record) -> None:
        over_with_a_restricted_run(record)
        of_run(record, end_date=None)
        unpublished(record)

    allocate(budget)
    serve(edit, now=NOW + HOUR, catalog=OTHER_CATALOG)
    notice = AdministratorNotice.objects.get()
    assert (notice.budget, notice.reason) == (budget, "content_not_active")


def with_a_restricted_run(record: Record) -> None:
    restricted = {"key": f"{RUN}-PRIVATE", "uuid": str(uuid4()), "restriction_type": "custom-b2b-enterprise"}
    hidden = {"status": "archived", "is_marketable_external": False}
    record["course_runs"].append(record["course_runs"][0] | restricted | hidden)


def closed_with_a_restricted_run(record: Record) -> None:
    closed(record)
    with_a_restricted_run(record)
    record["course_runs"][-1]["enrollment_end"] = "2026-11-01T00:00:00Z"  # one that is open may be offered


def unpublished_with_a_restricted_run(record: Record) -> None:
    unpublished(record)
    with_a_restricted_run(record)


def test_what_is_served_as_another_variant_is_not_notified_of_again(mail: MailServer, budget: Budget) -> None:
    allocate(budget)
    for hours, edit in enumerate([unpublished, unpublished_with_a_restricted_run], start=1):
        serve(edit, now=NOW + hours * HOUR)
        notify(NOW + hours * HOUR)

    assert (len(mail.received), AdministratorNotice.objects.count()) == (1, 1)
    assert len(administrator_notices.current(NOW + 2 * HOUR)) == 1

    serve(with_a_restricted_run, now=NOW + 3 * HOUR)
    assert AdministratorNotice.objects.get().resolved_at == NOW + 3 * HOUR


def test_a_notice_that_is_resolved_before_it_could_be_sent_delays_no_expiry(
    mail: MailServer, budget: Budget
) -> None:
    allocate(budget)
    serve(unpublished, now=NOW + HOUR)
    mail.mailbox_full.add("ada@people.example")
    notify(NOW + HOUR)
    serve(now=NOW + 2 * HOUR)
    notice = AdministratorNotice.objects.get()
    assert (notice.resolved_at, notice.notified_at, mail.received) == (NOW + 2 * HOUR, None, [])

    mail.mailbox_full.clear()
    terms.change(budget, now=NOW + 3 * HOUR, terms={"ends_at": NOW + 4 * HOUR})
    notify(NOW + 3 * HOUR)
    assert [sent["To"] for sent in mail.received] == ["ada@people.example"]
    over_and_in_time = NOW + 3 * HOUR + DAY
    assert expiry.expire_due(now=over_and_in_time - HOUR).done == 0
    assert expiry.expire_due(now=over_and_in_time).done == 2


def test_a_notice_is_waited_for_although_the_course_is_served_as_another_variant(
    mail: MailServer, budget: Budget
) -> None:
    allocate(budget)
    serve(closed, now=NOW + HOUR)
    mail.go()
    notify(NOW + HOUR)
    serve(closed_with_a_restricted_run, now=NOW + 2 * HOUR)

    assert len(administrator_notices.current(NOW + 2 * HOUR)) == 1
    assert expiry.expire_due(now=NOW + 2 * DAY).done == 0
    mail.come()
    notify(NOW + 2 * DAY)
    assert expiry.expire_due(now=NOW + 3 * DAY).done == 2
