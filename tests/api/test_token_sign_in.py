"""What a token of Open edX may do: by its roles, by header or by cookie, and beside a session."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from bursary.access.models import (
    Role,
    RoleGrant,
    SeenAdministrator,
    User,
)
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import issuer
from tests.api.door import Door, door_of, of_the_budget, refusal_of
from tests.issuer import at, browser_by, door_by, token
from tests.world import ALICE, NOW, given_api_key, given_assignment, given_customer, given_user

pytestmark = pytest.mark.django_db

PORTAL = "https://portal.example"


@pytest.fixture(autouse=True)
def _trusted(settings: Settings) -> None:
    issuer.trust(settings)


@pytest.fixture
def roles(budget: Budget) -> list[str]:
    """Return the roles of an administrator of the budget's customer."""
    return [f"enterprise_admin:{budget.customer.uuid}"]


OPERATOR, ADMINISTRATOR, LEARNER = "enterprise_openedx_operator:*", "enterprise_admin", "enterprise_learner"
AS_GRANTED = {OPERATOR: Role.OPERATOR, ADMINISTRATOR: Role.ADMINISTRATOR, LEARNER: Role.LEARNER}


@pytest.mark.parametrize("role", [OPERATOR, ADMINISTRATOR, LEARNER])
@pytest.mark.parametrize("foreign", [False, True])
def test_the_roles_of_a_token_permit_what_the_same_roles_permit_an_account(
    budget: Budget, content: ContentMetadata, role: str, foreign: bool
) -> None:
    assignment = given_assignment(budget, content)
    customer = given_customer() if foreign else budget.customer
    named = role if role == OPERATOR else f"{role}:{customer.uuid}"
    by_token = door_by(token(roles=[named]))
    by_key = door_of(AS_GRANTED[role], customer=None if role == OPERATOR else customer)

    paths = [one for one in of_the_budget(assignment) if "-all/" not in one[1]]
    paths += [("GET", "content-metadata/"), ("GET", f"content-metadata/{content.content_key}/impact/")]
    paths += [
        ("GET", f"policy-redemption/credits_available/?enterprise_customer_uuid={budget.customer.uuid}")
    ]
    for method, path in paths:
        answers = [door.send(method, path, b"{}") for door in (by_token, by_key)]
        assert answers[0].status_code == answers[1].status_code, path
        assert answers[0].json() == answers[1].json() or answers[0].status_code == 200


def test_what_is_foreign_to_a_token_is_answered_as_if_it_were_not_there(budget: Budget) -> None:
    foreign = door_by(token(roles=[f"enterprise_admin:{given_customer().uuid}"]))
    rows = f"assignment-configurations/{budget.assignment_configuration_uuid}/admin/assignments"
    unknown = f"assignment-configurations/{uuid4()}/admin/assignments"
    answers = [foreign.send("POST", f"{path}/cancel-all/", b"{}") for path in (rows, unknown)]
    assert [refusal_of(answer) for answer in answers] == [(404, "not_found")] * 2
    assert foreign.policies().json()["count"] == 0


WITHOUT_CUSTOMER: list[object] = [
    "enterprise_openedx_operator:*",  # no list
    ["enterprise_openedx_operator"],
    ["enterprise_openedx_operator:all"],
    ["enterprise_admin:*"],
    ["enterprise_admin"],
    ["enterprise_admin:no uuid"],
    ["system_wide_enterprise_admin:*"],
    [["enterprise_admin"], None, 7],
    {"enterprise_openedx_operator:*": True},
]


def test_roles_that_name_no_customer_give_nothing(budget: Budget, subtests: pytest.Subtests) -> None:
    for listed in WITHOUT_CUSTOMER:
        with subtests.test(str(listed)):
            door = door_by(token(roles=listed))
            assert door.policy(budget.uuid).status_code == 404
            assert door.content().status_code == 403


def test_grants_of_the_account_do_not_count_with_a_token(budget: Budget) -> None:
    door_by(token()).policies()
    ada = User.objects.get()
    RoleGrant.objects.create(user=ada, role=Role.OPERATOR)

    assert door_by(token()).policy(budget.uuid).status_code == 404
    assert Door(key=given_api_key(ada)).policy(budget.uuid).status_code == 200


def test_a_token_opens_nothing_but_the_api(client: Client, roles: list[str]) -> None:
    browser = browser_by(token(roles=[*roles, OPERATOR], administrator=True))
    assert browser.policies().status_code == 200
    for path in ("/", "/admin/", "/account/"):
        page = browser.client.get(path, follow=True)
        assert page.wsgi_request.user.is_anonymous, path
    assert "sessionid" not in browser.client.cookies


def test_a_cookie_writes_only_with_the_csrf_token_and_from_an_origin_that_is_named(
    budget: Budget, content: ContentMetadata, roles: list[str], settings: Settings
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [settings.BASE_URL, PORTAL]
    origins = [PORTAL, "https://portal.example.evil.example", PORTAL]
    missing, foreign, good = (browser_by(token(roles=roles), origin=origin) for origin in origins)
    for browser, origin in zip((foreign, good), origins[1:], strict=True):
        csrf = browser.client.get("/csrf/api/v1/token").json()["csrfToken"]
        browser.client.credentials(HTTP_ORIGIN=origin, HTTP_X_CSRFTOKEN=csrf)

    for browser in (missing, foreign):
        refused = browser.allocate(budget, content, ALICE)
        assert refusal_of(refused) == (403, "not_permitted")
        assert "X-CSRFToken" in refused.json()["next_step"]
    assert not LearnerContentAssignment.objects.exists()
    assert not User.objects.exists()  # nor is an account made
    assert good.allocate(budget, content, ALICE).status_code == 202
    assert LearnerContentAssignment.objects.get().allocated_by == User.objects.get()


def test_a_header_writes_without_a_csrf_token(
    budget: Budget, content: ContentMetadata, roles: list[str]
) -> None:
    door = Door(csrf=True)
    door.client.credentials(HTTP_AUTHORIZATION=f"JWT {token(roles=roles)}")
    assert door.allocate(budget, content, ALICE).status_code == 202


def test_an_expired_cookie_leaves_the_session_to_sign_in(budget: Budget, roles: list[str]) -> None:
    browser = browser_by(token(roles=roles, exp=at(-60)))
    assert refusal_of(browser.policy(budget.uuid)) == (401, "token_expired")
    browser.client.force_login(given_user(Role.ADMINISTRATOR, customer=budget.customer))
    assert browser.policy(budget.uuid).status_code == 200


def test_a_token_comes_before_the_session_and_after_a_key(budget: Budget, roles: list[str]) -> None:
    browser = browser_by(token())
    browser.client.force_login(given_user(Role.ADMINISTRATOR, customer=budget.customer))
    assert browser.policy(budget.uuid).status_code == 404
    key = given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer))
    browser.client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert browser.policy(budget.uuid).status_code == 200


def test_half_a_token_is_none(budget: Budget) -> None:
    browser = browser_by(token())
    del browser.client.cookies["edx-jwt-cookie-signature"]
    assert refusal_of(browser.policy(budget.uuid)) == (401, "not_signed_in")


def test_an_administrator_is_kept_as_a_contact_as_long_as_tokens_say_so(
    budget: Budget, roles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = given_customer()
    door_by(token(roles=[*roles, f"enterprise_learner:{other.uuid}", OPERATOR])).policies()
    seen = SeenAdministrator.objects.get()
    assert (seen.customer, seen.user, seen.seen_at) == (budget.customer, User.objects.get(), NOW)

    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW + timedelta(minutes=59))
    door_by(token(roles=[])).policies()
    assert SeenAdministrator.objects.count() == 1  # kept to the hour
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW + timedelta(hours=1))
    door_by(token(roles=[], exp=at(7200))).policies()
    assert not SeenAdministrator.objects.exists()


def test_a_known_person_costs_two_queries(
    budget: Budget, roles: list[str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """One for the account, and one for the answer: the list of no budget."""
    door = door_by(token(roles=roles))
    door.policies()
    budget.delete()
    with django_assert_num_queries(2):
        door.policies()
