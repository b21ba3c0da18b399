"""The Django admin: operators see every record, and change only what has no writer of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import (
    ApiKey,
    ExternalIdentity,
    IdempotentRequest,
    JwkSet,
    LearnerLink,
    NoticeAddress,
    RequestTally,
    RoleGrant,
    SeenAdministrator,
    SignInFailures,
    Suppression,
    User,
)
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import ledger
from bursary.budgets.models import Account, Budget, Customer, LedgerEntry
from bursary.delivery.models import MailServer
from bursary.events.models import InboxEvent
from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ColdRead,
    ContentChange,
    ContentMetadata,
    ShadowDifference,
    ShadowTally,
)
from tests import world

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]

READ_ONLY: list[type[models.Model]] = [
    ContentMetadata,
    CatalogMembership,
    ContentChange,
    CatalogListing,
    ColdRead,
    ShadowDifference,
    ShadowTally,
    LedgerEntry,
    LearnerLink,
    SignInFailures,
    Suppression,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
    InboxEvent,
    MailServer,
    IdempotentRequest,
    RequestTally,
    JwkSet,
    SeenAdministrator,
]
EDITED: list[type[models.Model]] = [
    Customer,
    Account,
    Budget,
    User,
    RoleGrant,
    ExternalIdentity,
    NoticeAddress,
]
ISSUED: list[type[models.Model]] = [ApiKey]
POINTED_TO: list[type[models.Model]] = [Customer, Account, Budget]


@pytest.fixture
def operator(client: Client) -> Client:
    olga = User.objects.create_superuser("olga", "olga@people.example", "made-up")
    client.force_login(olga)
    return client


@pytest.fixture
def everything() -> None:
    """One record of every kind."""
    assignment = world.given_assignment(address="nobody@nowhere.invalid")
    world.deliver()
    world.given_api_key(world.given_user())
    customer = assignment.budget.customer
    user = RoleGrant.objects.create(user=User.objects.latest("pk"), role="learner", customer=customer).user
    ContentChange.objects.create(
        content=ContentMetadata.objects.get(content_type="course"),
        field="title",
        old="A",
        new="B",
        trigger="cron",
        created=world.NOW,
    )
    CatalogListing.objects.create(catalog_uuid=world.CATALOG)
    asked = {"content_key": "NobodyX+N1", "status": "absent", "asked_at": world.NOW}
    ColdRead.objects.create(catalog_uuid=world.CATALOG, due_at=world.NOW, **asked)
    InboxEvent.objects.create(
        source="bus", event_id="one", kind="content.changed", received_at=world.NOW, due_at=world.NOW, early=0
    )
    ShadowTally.objects.create(catalog_uuid=world.CATALOG, since=world.NOW, last_at=world.NOW)
    ShadowDifference.objects.create(
        catalog_uuid=world.CATALOG,
        content_key="NobodyX+N1",
        field="title",
        first_seen=world.NOW,
        last_seen=world.NOW,
    )
    MailServer.objects.create(name="smtp", trouble_since=world.NOW, due_at=world.NOW, early=0)
    ExternalIdentity.objects.create(user=user, issuer="https://lms.example", username="nobody")
    SeenAdministrator.objects.create(user=user, customer=customer, seen_at=world.NOW)
    SignInFailures.objects.create(digest="3" * 64, failures=1, since=world.NOW)
    Suppression.objects.create(customer=customer, address_hash="4" * 64, reason="bounced", since=world.NOW)
    NoticeAddress.objects.create(customer=customer, address="nobody@nowhere.invalid")
    IdempotentRequest.objects.create(user=user, identity="1" * 64, fingerprint="2" * 64, created=world.NOW)
    RequestTally.objects.create(caller="key 1", minute=29_541_660, count=3)
    JwkSet.objects.create(url="https://lms.example/jwks.json", due_at=world.NOW, early=0)
    ledger.spend(assignment.budget, cents=100, key="k", now=world.NOW)


def address(model: type[models.Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_model_is_there() -> None:
    ours = {model for model in apps.get_models() if model.__module__.startswith("bursary.")}

    assert ours - set(admin.site._registry) == set()


@pytest.mark.usefixtures("everything")
def test_operators_see_the_list_and_each_record(operator: Client, subtests: pytest.Subtests) -> None:
    for model in READ_ONLY + EDITED + ISSUED:
        with subtests.test(model.__name__):
            record = model._default_manager.latest("pk")

            assert operator.get(address(model, "changelist")).status_code == 200
            assert operator.get(address(model, "changelist"), {"q": "a"}).status_code == 200
            assert operator.get(address(model, "change", record.pk)).status_code == 200


@pytest.mark.usefixtures("everything")
def test_records_with_writers_of_their_own_cannot_be_changed(
    operator: Client, subtests: pytest.Subtests
) -> None:
    for model in READ_ONLY + ISSUED:
        with subtests.test(model.__name__):
            record = model._default_manager.latest("pk")

            assert operator.get(address(model, "add")).status_code == 403
            assert operator.post(address(model, "change", record.pk), {"state": "x"}).status_code == 403
            assert operator.post(address(model, "delete", record.pk), {"post": "yes"}).status_code == 403
            assert model._default_manager.filter(pk=record.pk).exists()


@pytest.mark.usefixtures("everything")
def test_what_others_point_to_cannot_be_deleted(operator: Client, subtests: pytest.Subtests) -> None:
    for model in POINTED_TO:
        with subtests.test(model.__name__):
            record = model._default_manager.latest("pk")

            assert operator.post(address(model, "delete", record.pk), {"post": "yes"}).status_code == 403


def test_administrators_and_learners_do_not_get_in(client: Client) -> None:
    client.force_login(world.given_user())

    assert client.get(reverse("admin:index")).status_code == 302


def terms_of(budget: Budget, **changed: str) -> dict[str, str]:
    return {
        "name": budget.name,
        "description": "",
        "catalog_uuid": str(budget.catalog_uuid),
        "limit_cents": "" if budget.limit_cents is None else str(budget.limit_cents),
        "starts_at_0": "",
        "starts_at_1": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "allocation_age_days": str(budget.allocation_age_days),
        "active": "on",
        "retired_at_0": "",
        "retired_at_1": "",
    } | changed


def test_a_budgets_new_end_moves_the_deadlines_of_its_assignments(operator: Client) -> None:
    assignment = world.given_assignment(now=timezone.now())
    ends = timezone.now() + timedelta(days=7)
    terms = terms_of(assignment.budget, ends_at_0=f"{ends:%Y-%m-%d}", ends_at_1="12:00:00")

    answer = operator.post(address(Budget, "change", assignment.budget.pk), terms)

    assert answer.status_code == 302
    assignment.refresh_from_db()
    assert assignment.expires_reason == "SUBSIDY_EXPIRED"
    local = assignment.expires_at.astimezone(ZoneInfo("Europe/Madrid"))  # the organisation's
    assert f"{local:%Y-%m-%d %H:%M}" == f"{ends:%Y-%m-%d} 12:00"


def test_a_budgets_end_without_a_time_is_the_end_of_that_day_where_the_organisation_is(
    operator: Client,
) -> None:
    budget = world.given_budget()

    answer = operator.post(address(Budget, "change", budget.pk), terms_of(budget, ends_at_0="2027-06-30"))

    assert answer.status_code == 302
    budget.refresh_from_db()
    assert budget.ends_at == datetime(2027, 6, 30, 21, 59, 59, tzinfo=UTC)
    page = operator.get(address(Budget, "change", budget.pk)).content.decode()
    assert 'value="2027-06-30"' in page
    assert 'value="23:59:59"' in page
    assert "In Europe/Madrid." in page
    listed = operator.get(address(Budget, "changelist")).content.decode()
    assert "Wednesday, 30 June 2027, 23:59 (Madrid time)" in listed


def test_saving_a_budget_as_it_is_shown_changes_no_date(operator: Client) -> None:
    budget = world.given_budget(ends_at=datetime(2027, 6, 30, 10, 0, 0, 123456, tzinfo=UTC))

    shown = terms_of(budget, ends_at_0="2027-06-30", ends_at_1="12:00:00", name="Renamed")
    operator.post(address(Budget, "change", budget.pk), shown)

    budget.refresh_from_db()
    assert (budget.name, budget.ends_at) == ("Renamed", datetime(2027, 6, 30, 10, 0, 0, 123456, tzinfo=UTC))


def test_a_new_budgets_dates_are_meant_where_its_organisation_is(operator: Client) -> None:
    known = world.given_budget()
    new = terms_of(known, name="New", starts_at_0="2027-01-01", ends_at_0="2027-06-30", ends_at_1="17:00")
    new |= {"customer": str(known.customer.pk), "account": str(known.account.pk)}

    operator.post(address(Budget, "add"), new)

    made = Budget.objects.get(name="New")
    assert made.starts_at == datetime(2026, 12, 31, 23, 0, tzinfo=UTC)
    assert made.ends_at == datetime(2027, 6, 30, 15, 0, tzinfo=UTC)


def test_a_date_that_cannot_be_read_is_answered_with_the_formats(operator: Client) -> None:
    budget = world.given_budget()

    answer = operator.post(address(Budget, "change", budget.pk), terms_of(budget, ends_at_0="30.6.2027"))

    assert "Give a date (2027-06-30)" in answer.content.decode()


def test_a_record_is_shown_in_its_organisations_zone_and_a_list_in_utc_each_named(operator: Client) -> None:
    assignment = world.given_assignment()

    page = operator.get(address(LearnerContentAssignment, "change", assignment.pk)).content.decode()
    listed = operator.get(address(LearnerContentAssignment, "changelist")).content.decode()

    assert "2 March 2026, 10:00 CET" in page
    assert "31 May 2026, 09:00 UTC" in listed


def test_money_that_is_reserved_cannot_be_edited_away(operator: Client) -> None:
    assignment = world.given_assignment()

    operator.post(
        address(Budget, "change", assignment.budget.pk),
        terms_of(assignment.budget, reserved_cents="0", spent_cents="0", limit_cents="1"),
    )

    budget = Budget.objects.get()
    assert (budget.limit_cents, budget.reserved_cents) == (1, world.PRICE)


def test_an_accounts_limit_is_saved_without_the_money_that_moves_beside_it(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = world.given_budget().account
    save = Account.save

    def save_late(self: Account, **how: Any) -> None:
        # The ledger, between reading and writing.
        Account.objects.filter(pk=self.pk).update(reserved_cents=700)
        save(self, **how)

    monkeypatch.setattr(Account, "save", save_late)
    operator.post(address(Account, "change", account.pk), {"name": account.name, "limit_cents": "900"})

    account.refresh_from_db()
    assert (account.limit_cents, account.reserved_cents) == (900, 700)


def test_a_new_budget_can_be_made(operator: Client) -> None:
    budget = world.given_budget()
    more = {"customer": str(budget.customer_id), "account": str(budget.account_id), "name": "Languages"}

    assert operator.post(address(Budget, "add"), terms_of(budget, **more)).status_code == 302
    made = Budget.objects.get(name="Languages")
    assert made.assignment_configuration_uuid == made.uuid


def test_a_key_can_be_revoked_and_nothing_else(operator: Client) -> None:
    world.given_api_key(world.given_user())
    key = ApiKey.objects.get()

    operator.post(
        address(ApiKey, "changelist"), {"action": "revoke", "_selected_action": [key.pk], "index": "0"}
    )

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert not key.works_at(timezone.now())
    assert key.digest not in operator.get(address(ApiKey, "change", key.pk)).content.decode()


def test_a_jwk_set_can_be_fetched_again_and_keeps_its_keys(operator: Client) -> None:
    fetched = {"fetched_at": world.NOW, "due_at": world.NOW, "early": 0}
    kept = JwkSet.objects.create(url="https://lms.example/jwks.json", keys="{}", **fetched)
    action = {"action": "fetch_again", "_selected_action": [kept.pk], "index": "0"}

    operator.post(address(JwkSet, "changelist"), action)

    kept.refresh_from_db()
    assert (kept.fetched_at, kept.keys) == (None, "{}")


def test_an_account_is_linked_to_an_issuers_user_name_unless_it_is_staff(operator: Client) -> None:
    ada, olga = world.given_user(), User.objects.get(username="olga")
    form = {"user": ada.pk, "issuer": "https://lms.example", "username": "ada"}

    assert operator.post(address(ExternalIdentity, "add"), form | {"user": olga.pk}).status_code == 200
    assert operator.post(address(ExternalIdentity, "add"), form).status_code == 302
    assert operator.post(address(ExternalIdentity, "add"), form).status_code == 200
    digest = ExternalIdentity.digest_of("ada", issuer="https://lms.example")
    assert ExternalIdentity.objects.get(digest=digest).user == ada


def test_a_user_is_made_with_the_id_of_the_lms(operator: Client) -> None:
    form = {
        "username": "lena",
        "email": "lena@people.example",
        "lms_user_id": "7001",
        "usable_password": "true",
        "password1": "quite-made-up-2026",
        "password2": "quite-made-up-2026",
    }

    assert operator.post(address(User, "add"), form).status_code == 302
    lena = User.objects.get(username="lena")
    assert (lena.lms_user_id, lena.email, bool(lena.learner_key)) == (7001, "lena@people.example", True)


def test_a_longer_list_takes_no_more_queries(
    operator: Client, django_assert_max_num_queries: MaxQueries, subtests: pytest.Subtests
) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(20))
    world.deliver()
    for _ in range(20):
        world.given_content()

    for model in (
        LearnerContentAssignment,
        LearnerContentAssignmentAction,
        LearnerLink,
        CatalogMembership,
    ):
        with subtests.test(model.__name__), django_assert_max_num_queries(8):
            operator.get(address(model, "changelist"))


@pytest.mark.parametrize("number", [str(2**63), f"-{'1' * 30}"])
def test_a_number_that_no_column_holds_is_not_found(operator: Client, number: str) -> None:
    wrong = [  # each reads it otherwise: a lookup, a widget, a choice of the form, the chosen rows
        operator.get(address(Budget, "changelist"), {"customer": number}),
        operator.get(address(Budget, "changelist"), {"id__in": number}),
        operator.get(address(RoleGrant, "add"), {"customer": number}),
        operator.post(address(RoleGrant, "add"), {"customer": number, "user": number, "role": "learner"}),
        operator.post(
            address(RoleGrant, "changelist"), {"action": "delete_selected", "_selected_action": number}
        ),
    ]
    assert [answer.status_code for answer in wrong] == [404] * len(wrong)
    assert operator.get(address(Budget, "changelist"), {"customer__id__exact": number}).status_code == 200
