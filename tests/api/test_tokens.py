"""Sign-in with tokens of Open edX: what is accepted, what is refused and why, and what a token may do."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from bursary.access.models import (
    AccountAddress,
    ExternalIdentity,
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
from tests.issuer import browser_by, by_hand, claims, door_by, token
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


def at(seconds: float) -> int:
    return int(NOW.timestamp() + seconds)


def test_a_token_signs_in_with_its_roles_and_keeps_none_of_them(budget: Budget, roles: list[str]) -> None:
    answer = door_by(token(roles=roles, administrator=True)).policy(budget.uuid)

    assert answer.status_code == 200
    ada = User.objects.get()
    assert (ada.username, ada.email, ada.lms_user_id) == ("ada", "ada@larkspur.example", 7)
    assert [ada.is_staff, ada.is_superuser, ada.has_usable_password()] == [False] * 3
    assert not RoleGrant.objects.exists()
    assert door_by(token()).policy(budget.uuid).status_code == 403
    assert User.objects.count() == ExternalIdentity.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": at(-11)}, "token_expired"),
        ({"iat": at(11)}, "token_not_yet_valid"),
        ({"nbf": at(11)}, "token_not_yet_valid"),
        ({"aud": "another-service"}, "token_audience_wrong"),
        ({"aud": ["a", "b"]}, "token_audience_wrong"),
        ({"iss": "https://evil.example/oauth2"}, "token_issuer_wrong"),
        ({"version": "2.0.0"}, "token_version_wrong"),
        ({"version": "10.0"}, "token_version_wrong"),
        ({"version": None}, "token_version_wrong"),
        ({"is_restricted": True}, "token_restricted"),
        ({"exp": None}, "token_claims_unusable"),
        ({"iat": None}, "token_claims_unusable"),
        ({"aud": None}, "token_claims_unusable"),
        ({"iss": None}, "token_claims_unusable"),
        ({"exp": "never"}, "token_claims_unusable"),
        ({"exp": float("inf")}, "token_claims_unusable"),
        ({"nbf": "soon"}, "token_claims_unusable"),
        ({"preferred_username": None}, "token_claims_unusable"),
        ({"preferred_username": "a" * 151}, "token_claims_unusable"),
        ({"preferred_username": "a\0"}, "token_claims_unusable"),
        ({"preferred_username": ["ada"]}, "token_claims_unusable"),
        ({"user_id": "7"}, "token_claims_unusable"),
        ({"user_id": True}, "token_claims_unusable"),
        ({"user_id": 2**63}, "token_claims_unusable"),
    ],
)
def test_a_token_with_such_claims_is_refused(
    budget: Budget, roles: list[str], changes: dict[str, Any], reason: str
) -> None:
    answer = door_by(token(roles=roles, **changes)).policy(budget.uuid)

    assert refusal_of(answer) == (401, reason)
    assert answer.headers["WWW-Authenticate"]
    assert not User.objects.exists()


def test_clocks_may_differ_by_seconds_and_a_service_may_have_several_audiences(
    budget: Budget, roles: list[str]
) -> None:
    later = token(roles=roles, iat=at(9), exp=at(-9), aud=["x", issuer.AUDIENCE])
    assert door_by(later).policy(budget.uuid).status_code == 200


def signed_otherwise(how: str, roles: list[str]) -> str:
    """Return a token that an attacker makes from what is public."""
    payload, kid = claims(roles=roles), {"kid": issuer.FIRST}
    good = token()
    swapped = by_hand({"alg": "RS512", **kid}, payload, secret=None).split(".")[1]
    return {
        "unsigned": by_hand({"alg": "none", **kid}, payload, secret=None),
        "without an algorithm": by_hand(kid, payload, secret=None),
        "by the public key as a secret": by_hand(
            {"alg": "HS256", **kid}, payload, secret=issuer.public_pem()
        ),
        "tampered roles": ".".join([good.split(".")[0], swapped, good.split(".")[2]]),
        "a removed key": token(kid=issuer.SECOND, roles=roles),
        "a removed key that is not named": token(kid=issuer.SECOND, named=False, roles=roles),
        "another key under a good name": by_hand({"alg": "RS512", **kid}, payload, secret=b"x"),
    }[how]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("unsigned", "token_algorithm_refused"),
        ("without an algorithm", "token_algorithm_refused"),
        ("by the public key as a secret", "token_algorithm_refused"),
        ("tampered roles", "token_signature_wrong"),
        ("a removed key", "token_key_unknown"),
        ("a removed key that is not named", "token_signature_wrong"),
        ("another key under a good name", "token_signature_wrong"),
    ],
)
def test_a_token_that_the_issuer_has_not_signed_is_refused(
    budget: Budget, roles: list[str], how: str, reason: str
) -> None:
    forged = signed_otherwise(how, roles)

    assert refusal_of(door_by(forged).policy(budget.uuid)) == (401, reason)
    in_cookies = refusal_of(browser_by(forged).policy(budget.uuid))
    assert in_cookies == (401, "not_signed_in" if forged.endswith(".") else reason)  # half of the cookies
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b.c",
        "....",
        "\xff.\xff.\xff",
        by_hand({"alg": ["RS512"]}, {}, secret=None),
        by_hand({"alg": "RS512", "kid": 7}, {}, secret=None),
        by_hand({"alg": "RS512", "crit": ["x"]}, {}, secret=None),
        "W1tbW1tbW1tb" * 600 + ".e30.",
    ],
)
def test_what_is_no_token_is_refused(budget: Budget, text: str) -> None:
    status, reason = refusal_of(door_by(text).policy(budget.uuid))
    assert (status, reason) in {(401, "token_malformed"), (401, "token_algorithm_refused")}


def test_a_key_that_the_token_does_not_name_is_found_among_all(
    budget: Budget, roles: list[str], settings: Settings
) -> None:
    issuer.trust(settings, issuer.SECOND, issuer.FIRST)
    assert door_by(token(named=False, roles=roles)).policy(budget.uuid).status_code == 200


def test_a_shared_secret_takes_hmac_and_nothing_else(
    budget: Budget, roles: list[str], settings: Settings
) -> None:
    settings.JWT_JWK_SET, settings.JWT_SECRET = "", "for development, of thirty-two characters"
    secret = settings.JWT_SECRET.encode()
    good = by_hand({"alg": "HS256"}, claims(roles=roles), secret=secret)
    wrong = by_hand({"alg": "HS256"}, claims(roles=roles), secret=b"another")

    assert door_by(good).policy(budget.uuid).status_code == 200
    assert refusal_of(door_by(wrong).policy(budget.uuid)) == (401, "token_signature_wrong")
    assert refusal_of(door_by(token(roles=roles)).policy(budget.uuid)) == (401, "token_algorithm_refused")


def test_without_an_issuer_tokens_are_not_read(budget: Budget, roles: list[str], settings: Settings) -> None:
    settings.JWT_ISSUER = ""
    assert refusal_of(door_by(token(roles=roles)).policy(budget.uuid)) == (401, "not_signed_in")
    assert refusal_of(browser_by(token(roles=roles)).policy(budget.uuid)) == (401, "not_signed_in")


@pytest.mark.parametrize(
    "local",
    [
        {"username": "ada", "is_staff": True, "is_superuser": True},
        {"username": "ADA"},
        {"email": "Ada@Larkspur.example"},
        {"lms_user_id": 7},
    ],
)
def test_a_local_account_of_that_name_address_or_id_is_never_taken_over(
    budget: Budget, roles: list[str], local: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    account = given_user(Role.ADMINISTRATOR, customer=budget.customer, **local)
    before = User.objects.values().get()

    answer = door_by(token(roles=roles)).policy(budget.uuid)

    assert refusal_of(answer) == (401, "account_not_linked")
    assert User.objects.values().get() == before
    assert not ExternalIdentity.objects.exists()
    [line] = [one.getMessage() for one in caplog.records if one.name == "bursary.access.token_accounts"]
    assert "account_not_linked" in line
    assert f"[{account.pk}]" in line
    assert "ada" not in line.lower()


def test_an_address_that_a_local_account_had_earlier_is_not_taken_over(budget: Budget) -> None:
    account = given_user(email="ada@larkspur.example")
    account.email = "ada@elsewhere.example"
    account.save()

    assert refusal_of(door_by(token()).policies()) == (401, "account_not_linked")
    assert AccountAddress.objects.get().user == account


def test_an_address_that_the_issuer_has_not_verified_leads_to_nothing(
    budget: Budget, content: ContentMetadata
) -> None:
    given_assignment(budget, content, address=ALICE)
    roles = [f"enterprise_learner:{budget.customer.uuid}"]
    customer = {"enterprise_customer_uuid": str(budget.customer.uuid)}

    unverified = door_by(token(email=ALICE, email_verified=False, roles=roles))
    assert unverified.get("policy-redemption/credits_available/", **customer).json() == []
    assert User.objects.get().email == ""

    verified = door_by(token(email=ALICE, roles=roles))
    [policy] = verified.get("policy-redemption/credits_available/", **customer).json()
    assert len(policy["learner_content_assignments"]) == 1
    assert User.objects.get().email == ALICE


def test_an_account_that_an_operator_has_linked_is_signed_in(budget: Budget, roles: list[str]) -> None:
    account = given_user(username="ada", email="ada@larkspur.example")
    ExternalIdentity.objects.create(user=account, issuer=issuer.ISSUER, username="ada")

    assert door_by(token(roles=roles)).policy(budget.uuid).status_code == 200
    account.refresh_from_db()
    assert (account.lms_user_id, account.first_name) == (7, "Ada Larkspur")
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_staff": True}, "staff_account"),
        ({"is_superuser": True}, "staff_account"),
        ({"is_active": False}, "account_deactivated"),
        ({"lms_user_id": 8}, "account_not_linked"),  # the name is another person's by now
    ],
)
def test_a_linked_account_that_tokens_do_not_sign_in(
    budget: Budget, roles: list[str], changes: dict[str, Any], reason: str
) -> None:
    door_by(token(roles=roles)).policies()
    User.objects.filter(username="ada").update(**changes)
    assert refusal_of(door_by(token(roles=roles)).policy(budget.uuid)) == (401, reason)


def test_the_identity_of_another_issuer_is_another(settings: Settings) -> None:
    door_by(token()).policies()
    settings.JWT_ISSUER = "https://other.example"
    answer = door_by(token(iss="https://other.example")).policies()
    assert refusal_of(answer) == (401, "account_not_linked")


def test_a_changed_address_is_written_unless_it_belongs_to_another_account() -> None:
    door_by(token()).policies()
    assert door_by(token(email="ada@new.example")).policies().status_code == 200
    ada = User.objects.get()
    assert ada.email == "ada@new.example"
    assert [one.address for one in ada.other_addresses.all()] == ["ada@larkspur.example"]

    given_user(email=ALICE)
    assert refusal_of(door_by(token(email=ALICE)).policies()) == (401, "account_not_linked")
    ada.refresh_from_db()
    assert ada.email == "ada@new.example"


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


@pytest.mark.parametrize(
    "listed",
    [
        "enterprise_openedx_operator:*",  # no list
        ["enterprise_openedx_operator"],
        ["enterprise_openedx_operator:all"],
        ["enterprise_admin:*"],
        ["enterprise_admin"],
        ["enterprise_admin:no uuid"],
        ["system_wide_enterprise_admin:*"],
        [["enterprise_admin"], None, 7],
        {"enterprise_openedx_operator:*": True},
    ],
)
def test_roles_that_name_no_customer_give_nothing(budget: Budget, listed: object) -> None:
    door = door_by(token(roles=listed))
    assert door.policy(budget.uuid).status_code == 403
    assert door.content().status_code == 403


def test_grants_of_the_account_do_not_count_with_a_token(budget: Budget) -> None:
    door_by(token()).policies()
    ada = User.objects.get()
    RoleGrant.objects.create(user=ada, role=Role.OPERATOR)

    assert door_by(token()).policy(budget.uuid).status_code == 403
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
    assert browser.policy(budget.uuid).status_code == 403
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
