"""Sign-in with tokens of Open edX: which are accepted, which refused, and the accounts that they lead to."""

from typing import Any

import pytest
from pytest_django import Settings

from bursary.access.models import (
    AccountAddress,
    ExternalIdentity,
    Role,
    RoleGrant,
    User,
)
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import issuer
from tests.api.door import refusal_of
from tests.issuer import at, browser_by, by_hand, claims, door_by, token
from tests.world import ALICE, given_assignment, given_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _trusted(settings: Settings) -> None:
    issuer.trust(settings)


@pytest.fixture
def roles(budget: Budget) -> list[str]:
    """Return the roles of an administrator of the budget's customer."""
    return [f"enterprise_admin:{budget.customer.uuid}"]


def test_a_token_signs_in_with_its_roles_and_keeps_none_of_them(budget: Budget, roles: list[str]) -> None:
    answer = door_by(token(roles=roles, administrator=True)).policy(budget.uuid)

    assert answer.status_code == 200
    ada = User.objects.get()
    assert (ada.username, ada.email, ada.lms_user_id) == ("ada", "ada@larkspur.example", 7)
    assert [ada.is_staff, ada.is_superuser, ada.has_usable_password()] == [False] * 3
    assert not RoleGrant.objects.exists()
    assert door_by(token()).policy(budget.uuid).status_code == 404
    assert User.objects.count() == ExternalIdentity.objects.count() == 1


REFUSED_CLAIMS: list[tuple[dict[str, Any], str]] = [
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
]


def test_a_token_with_unfit_claims_is_refused(
    budget: Budget, roles: list[str], subtests: pytest.Subtests
) -> None:
    for changes, reason in REFUSED_CLAIMS:
        with subtests.test(str(changes)[:60]):
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


FORGED = {
    "unsigned": "token_algorithm_refused",
    "without an algorithm": "token_algorithm_refused",
    "by the public key as a secret": "token_algorithm_refused",
    "tampered roles": "token_signature_wrong",
    "a removed key": "token_key_unknown",
    "a removed key that is not named": "token_signature_wrong",
    "another key under a good name": "token_signature_wrong",
}


def test_a_token_that_the_issuer_has_not_signed_is_refused(
    budget: Budget, roles: list[str], subtests: pytest.Subtests
) -> None:
    for how, reason in FORGED.items():
        with subtests.test(how):
            forged = signed_otherwise(how, roles)
            in_cookies = "not_signed_in" if forged.endswith(".") else reason  # half of the cookies

            assert refusal_of(door_by(forged).policy(budget.uuid)) == (401, reason)
            assert refusal_of(browser_by(forged).policy(budget.uuid)) == (401, in_cookies)
    assert not User.objects.exists()


NO_TOKENS = [
    "",
    "a",
    "a.b.c",
    "....",
    "\xff.\xff.\xff",
    by_hand({"alg": ["RS512"]}, {}, secret=None),
    by_hand({"alg": "RS512", "kid": 7}, {}, secret=None),
    by_hand({"alg": "RS512", "crit": ["x"]}, {}, secret=None),
    "W1tbW1tbW1tb" * 600 + ".e30.",
]


def test_what_is_no_token_is_refused(subtests: pytest.Subtests) -> None:
    for text in NO_TOKENS:
        with subtests.test(text[:20]):
            status, reason = refusal_of(door_by(text).policies())
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
