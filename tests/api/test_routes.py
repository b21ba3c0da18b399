"""Every route, by role, customer and method: which are answered, as the table in docs/routes.md says.

`make routes` writes the table anew; what must hold of any table is said here.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from bursary.access.models import ApiKey, ExternalIdentity, KeyScope, Role, User
from bursary.api import docs
from bursary.assignments import redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, Customer
from tests.api import routes
from tests.api.routes import Route
from tests.docs.pages import ROOT, page
from tests.issuer import AUDIENCE, FIRST, ISSUER, jwk_set, token
from tests.once import made_once
from tests.world import (
    ALICE,
    BOB,
    NOW,
    PRICE,
    allocate,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

PAGE = ROOT / "docs" / "routes.md"
OPEN = {"/api/v1/", "/api/v1/docs/", "/api/v1/schema/", "/csrf/api/v1/token", "/healthz"}
"""What needs no sign-in."""
PEOPLE = {
    "anyone": None,
    "no role": (None, True),
    "learner": (Role.LEARNER, True),
    "learner elsewhere": (Role.LEARNER, False),
    "administrator": (Role.ADMINISTRATOR, True),
    "administrator elsewhere": (Role.ADMINISTRATOR, False),
    "operator": (Role.OPERATOR, True),
}
KEYS = {f"key: {scope}": scope for scope in KeyScope}
BY_TOKEN = {
    "learner": "enterprise_learner:{}",
    "administrator": "enterprise_admin:{}",
    "operator": "enterprise_openedx_operator:*",
}
Answers = Mapping[Route, Mapping[str, str]]
UNREADABLE = ": with an unreadable body"

pytestmark = pytest.mark.django_db


def _client(*, session: User | None = None, authorization: str = "") -> APIClient:
    client = APIClient()
    if session is not None:
        client.force_login(session)
    if authorization:
        client.credentials(HTTP_AUTHORIZATION=authorization)
    return client


def _by_token(user: User, role: str) -> APIClient:
    ExternalIdentity.objects.create(user=user, issuer=ISSUER, username=user.username)
    signed = token(preferred_username=user.username, user_id=user.lms_user_id, email=user.email, roles=[role])
    return _client(authorization=f"JWT {signed}")


def _people(customer: Customer, elsewhere: Customer) -> dict[str, User]:
    """Return an account for each kind of person."""
    return {
        name: given_user(
            kind[0],
            customer=None if kind[0] in (None, Role.OPERATOR) else customer if kind[1] else elsewhere,
            lms_user_id=number,
            **({"email": ALICE} if name == "learner" else {}),
        )
        for number, (name, kind) in enumerate(PEOPLE.items(), 1)
        if kind
    }


def _values(budget: Budget) -> dict[str, object]:
    """Return what parameters are to be named: of a learner with two courses, and their organisation."""
    content, accepted = given_content(), given_content()
    batch = allocate(budget, content, ALICE).batch
    allocate(budget, accepted, ALICE)
    action = redemption.begin(LearnerContentAssignment.objects.get(content=accepted), now=NOW)
    assignment = LearnerContentAssignment.objects.get(content=content)
    return {
        "policy_uuid": budget.uuid,
        "configuration_uuid": budget.assignment_configuration_uuid,
        "assignment_uuid": assignment.uuid,
        "batch_uuid": batch.uuid,
        "action_uuid": action.uuid,
        "subsidy_uuid": budget.account.uuid,
        "customer_uuid": budget.customer.uuid,
        "enterprise_customer_uuid": str(budget.customer.uuid),
        "enterprise_customer_slug": budget.customer.slug,
        "content_key": content.content_key,
        "content_price_cents": PRICE,
        "learner_emails": [BOB],
        "assignment_uuids": [str(assignment.uuid)],
        "corrections": [{"old_address": BOB, "new_address": "bob@elsewhere.example"}],
        "until": (NOW + timedelta(days=30)).date().isoformat(),
        "reason": "They have left.",
        "confirmed_count": 0,
        "provider": "resend",
    }


def _clients(users: Mapping[str, User], customer: Customer) -> dict[str, APIClient]:
    """Return a client for each kind of caller: by session, by key and by token."""
    clients = {name: _client(session=users.get(name)) for name in PEOPLE}
    for name, scope in KEYS.items():
        _row, key = ApiKey.issue(users["administrator"], name=name, scope=scope)
        clients[name] = _client(authorization=f"Bearer {key}")
    for name, role in BY_TOKEN.items():
        clients[f"token: {name}"] = _by_token(users[name], role.format(customer.uuid))
    return clients


@pytest.fixture(scope="module")
def found(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Answers]:
    """Return the answer of each route to each caller."""
    with made_once(django_db_blocker) as until_then:
        until_then.setattr(timezone, "now", lambda: NOW)
        trusted = {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWT_JWK_SET": jwk_set(FIRST)}
        for name, value in trusted.items():
            until_then.setattr(settings, name, value)
        # Django logs each refusal, which takes longer than to refuse.
        until_then.setattr(logging.getLogger("django.request"), "disabled", True)
        until_then.setattr(settings, "POSTS_PER_MINUTE", 0)  # to count them takes a tenth of the time
        until_then.setattr(settings, "WEBHOOK_SECRETS", ["whsec_bWFkZSB1cCwgYW5kIG9mIGVub3VnaCBieXRlcw=="])
        budget, elsewhere = given_budget(seats=10), given_customer()
        given_budget(customer=elsewhere, catalog_uuid=UUID("00000000-0000-4000-8000-0000000ca7a2"))
        users = _people(budget.customer, elsewhere)
        clients = _clients(users, budget.customer)
        questions = list(routes.asked(_values(budget)))
        until_then.setattr(docs, "schema", lambda: {"openapi": "3.0.3"})  # each time is long to write
        strangers = [name for name in PEOPLE if name == "no role" or name.endswith("elsewhere")]
        answers: dict[Route, dict[str, str]] = {}
        for one in questions:
            answers[one.route] = {name: routes.answer(client, one) for name, client in clients.items()}
            for name in strangers if one.route.method == "POST" else ():
                answers[one.route][name + UNREADABLE] = routes.answer(clients[name], one, body="{")
        yield answers


def test_the_table_in_the_documents_is_what_is_answered(found: Answers) -> None:
    table = routes.table([*PEOPLE, *KEYS], found)
    if os.environ.get("BURSARY_TEST_ROUTES") == "write":
        head, _, _ = PAGE.read_text(encoding="utf-8").partition("| route |")
        PAGE.write_text(head + table, encoding="utf-8")
    documented = page("docs/routes.md").partition("| route |")
    assert routes.written("".join(documented[1:])) == routes.written(table)


def test_without_sign_in_or_role_nothing_of_an_organisation_is_shown(found: Answers) -> None:
    for route, answers in found.items():
        if route.address not in OPEN:
            assert answers["anyone"] in ("401", "404"), route
            assert answers["no role"] in ("401", "403", "404", "none"), route


def test_a_role_elsewhere_shows_nothing_of_this_organisation(found: Answers) -> None:
    for route, answers in found.items():
        if "{" in route.address:
            assert answers["learner elsewhere"] in ("403", "404"), route
            assert answers["administrator elsewhere"] in ("403", "404"), route


def test_what_a_body_must_be_is_said_to_callers_with_the_permission_alone(found: Answers) -> None:
    for route, answers in found.items():
        for name in PEOPLE:
            if "{" in route.address and name + UNREADABLE in answers:
                assert answers[name + UNREADABLE] == answers[name], (route, name)


def test_a_token_opens_what_its_role_does(found: Answers) -> None:
    for route, answers in found.items():
        for name in BY_TOKEN:
            assert answers[f"token: {name}"] == answers[name], (route, name)


def test_a_wider_key_opens_more_and_never_more_than_its_user(found: Answers) -> None:
    for route, answers in found.items():
        opened = [answers[name] in ("yes", "none") for name in KEYS]
        assert opened == sorted(opened), route
        assert answers["key: operate"] == answers["administrator"], route


def test_nothing_that_is_asked_of_any_caller_fails(found: Answers) -> None:
    statuses = {one for answers in found.values() for one in answers.values()}
    assert statuses <= {"yes", "none", "401", "403", "404"}
    assert len(found) > 50
