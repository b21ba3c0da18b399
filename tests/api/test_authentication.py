"""Authentication by key or by session, and the permissions of each role."""

from datetime import timedelta
from functools import reduce
from uuid import uuid4

import pytest

from bursary.access.models import ApiKey, Role, User
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of, for_every_user, listing, of_the_budget, refusal_of
from tests.world import ALICE, BOB, NOW, given_api_key, given_assignment, given_customer, given_user

pytestmark = pytest.mark.django_db

BODY = b"{}"
NAMED = "enterprise_customer_uuid"


@pytest.fixture
def assignment(budget: Budget, content: ContentMetadata) -> LearnerContentAssignment:
    return given_assignment(budget, content)


@pytest.fixture
def ada(budget: Budget) -> User:
    return given_user(Role.ADMINISTRATOR, customer=budget.customer)


def with_other_uuids(asked: str, assignment: LearnerContentAssignment) -> str:
    """Return an address or a body with uuids in it that nothing has."""
    budget = assignment.budget
    shown = (budget.uuid, budget.assignment_configuration_uuid, budget.account.uuid, budget.customer.uuid)
    return reduce(lambda text, uuid: text.replace(str(uuid), str(uuid4())), shown, asked)


def test_what_a_stranger_asks_for_is_answered_as_if_there_were_none(
    assignment: LearnerContentAssignment,
) -> None:
    budget, customer = assignment.budget, f'"enterprise_customer_uuid": "{assignment.budget.customer.uuid}"'
    verbs = ("cancel", "remind", "nudge", "correct-addresses", "cancel-all", "remind-all")
    learning = f"policy-redemption/enterprise-customer/{budget.customer.uuid}"
    asked = [
        *((method, path, "{}") for method, path in of_the_budget(assignment)),
        *(("POST", f"{listing(budget)}{verb}/", "{}") for verb in verbs),
        ("POST", f"policy-redemption/{budget.uuid}/redeem/", "{}"),
        ("POST", f"{listing(budget).replace('/admin', '')}{assignment.uuid}/decline/", "{}"),
        ("GET", f"{learning}/can-redeem/", ""),
        ("GET", f"{learning}/can-request/", ""),
        ("GET", f"policy-redemption/credits_available/?{NAMED}={budget.customer.uuid}&page=x", ""),
        ("GET", f"admin-view/learner_profile/?{NAMED}={budget.customer.uuid}&lms_user_id=x", ""),
        ("POST", "bffs/learner/search/", "{%s}" % customer),  # noqa: UP031  # braces
        ("POST", "bffs/learner/search/", '{%s, "enterprise_customer_slug": []}' % customer),  # noqa: UP031  # braces
        ("POST", "customer-configurations/", '{%s, "subsidy_requests_enabled": true}' % customer),  # noqa: UP031  # braces
    ]
    for door in (door_of(None), door_of(Role.ADMINISTRATOR, customer=given_customer())):
        for method, path, body in asked:
            foreign = door.send(method, path, body.encode())
            other = with_other_uuids(path, assignment), with_other_uuids(body, assignment).encode()
            assert refusal_of(foreign) == (404, "not_found"), path
            assert foreign.json() == door.send(method, *other).json(), path
    assert LearnerContentAssignment.objects.get().state == State.ALLOCATED


def test_what_else_is_wrong_is_said_to_callers_with_the_permission(budget: Budget, ada: User) -> None:
    door, uuid = Door(session=ada), str(budget.customer.uuid)
    body = {"enterprise_customer_uuid": uuid, "subsidy_requests_enabled": True}
    for answer in (
        door.post("customer-configurations/", body),
        door.post("bffs/learner/search/", {"enterprise_customer_slug": []}),
        door.get("policy-redemption/credits_available/", enterprise_customer_uuid=uuid, page="x"),
        door.get(f"policy-redemption/enterprise-customer/{uuid}/can-redeem/"),
    ):
        assert refusal_of(answer) == (400, "invalid_request")


def test_an_unauthenticated_request_gets_a_challenge_everywhere(
    assignment: LearnerContentAssignment, content: ContentMetadata
) -> None:
    for method, path in [*of_the_budget(assignment), *for_every_user(content)]:
        answer = Door().send(method, path)
        assert refusal_of(answer) == (401, "not_signed_in"), path
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Bursary"'


def test_a_learner_may_nothing_with_a_budget(assignment: LearnerContentAssignment) -> None:
    door = door_of(Role.LEARNER, customer=assignment.budget.customer)
    for method, path in of_the_budget(assignment):
        assert refusal_of(door.send(method, path, BODY)) == (404, "not_found"), path


def test_an_administrator_of_another_organisation_may_nothing(assignment: LearnerContentAssignment) -> None:
    door = door_of(Role.ADMINISTRATOR, customer=given_customer())
    for method, path in of_the_budget(assignment):
        assert refusal_of(door.send(method, path, BODY)) == (404, "not_found"), path


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.OPERATOR])
def test_administrators_and_operators_are_let_in(assignment: LearnerContentAssignment, role: Role) -> None:
    customer = assignment.budget.customer if role is Role.ADMINISTRATOR else None
    door = door_of(role, customer=customer)
    for method, path in of_the_budget(assignment):
        answer = door.send(method, path, BODY)
        # These bodies are refused for their content, not for the user; requests without a body succeed.
        expected = 200 if method == "GET" else 202 if path.endswith("-all/") else 400
        assert answer.status_code == expected, path


def test_an_operator_allocates_and_cancels_for_every_organisation(
    budget: Budget, content: ContentMetadata
) -> None:
    operator = door_of(Role.OPERATOR)
    [created] = operator.allocate(budget, content, ALICE).json()["created"]
    assert operator.cancel(budget, created["uuid"]).status_code == 200
    assert LearnerContentAssignment.objects.get().state == State.CANCELLED


def test_a_user_without_a_role_may_nothing(assignment: LearnerContentAssignment) -> None:
    door = door_of(None)
    for method, path in of_the_budget(assignment):
        assert refusal_of(door.send(method, path, BODY)) == (404, "not_found"), path


def test_a_superuser_without_a_role_may_nothing(budget: Budget) -> None:
    """The permission table alone decides."""
    door = Door(key=given_api_key(given_user(is_superuser=True, is_staff=True)))
    assert door.assignments(budget).status_code == 404


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_signs_in_whatever_the_case_of_its_scheme(budget: Budget, ada: User, scheme: str) -> None:
    door = Door()
    door.client.credentials(HTTP_AUTHORIZATION=f"{scheme}  {given_api_key(ada)} ")
    assert door.policy(budget.uuid).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer bur_",
        "Bearer \xff\xfe",
        "Basic YTpi",
        "JWT a.b.c",
        "x",
    ],
)
def test_anything_but_a_known_key_does_not_sign_in(budget: Budget, authorization: str) -> None:
    door = Door()
    door.client.credentials(HTTP_AUTHORIZATION=authorization)
    answer = door.policy(budget.uuid)
    assert refusal_of(answer) == (401, "not_signed_in")
    assert answer.headers["WWW-Authenticate"]


def test_a_key_is_not_found_by_its_digest(budget: Budget, ada: User) -> None:
    """What is in the table does not sign anyone in."""
    given_api_key(ada)
    assert Door(key=ApiKey.objects.get().digest).policy(budget.uuid).status_code == 401


def test_a_revoked_key_does_not_authenticate(budget: Budget, ada: User) -> None:
    key = given_api_key(ada)
    ApiKey.objects.update(revoked_at=NOW)
    assert Door(key=key).policy(budget.uuid).status_code == 401


def test_a_key_that_will_be_revoked_works_until_then(budget: Budget, ada: User) -> None:
    key = given_api_key(ada)
    ApiKey.objects.update(revoked_at=NOW + timedelta(seconds=1))
    assert Door(key=key).policy(budget.uuid).status_code == 200


def test_an_inactive_user_cannot_sign_in(budget: Budget, ada: User) -> None:
    by_key, by_session = Door(key=given_api_key(ada)), Door(session=ada)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert by_key.policy(budget.uuid).status_code == 401
    assert by_session.policy(budget.uuid).status_code == 401


def test_a_key_does_nothing_after_its_owner_lost_the_role(budget: Budget, ada: User) -> None:
    door = Door(key=given_api_key(ada))
    ada.role_grants.all().delete()
    assert door.policy(budget.uuid).status_code == 404


def test_a_bad_key_is_refused_although_a_session_would_do(budget: Budget, ada: User) -> None:
    door = Door(key="nonsense", session=ada)
    assert door.policy(budget.uuid).status_code == 401


def test_a_session_reads(budget: Budget, ada: User) -> None:
    assert Door(session=ada).assignments(budget).status_code == 200


def test_a_session_writes_only_with_its_csrf_token(
    budget: Budget, content: ContentMetadata, ada: User
) -> None:
    door = Door(session=ada, csrf=True)
    refused = door.allocate(budget, content, ALICE)
    assert refusal_of(refused) == (403, "not_permitted")
    assert "CSRF" in refused.json()["detail"]
    assert "X-CSRFToken" in refused.json()["next_step"]
    assert not LearnerContentAssignment.objects.exists()

    token = "a" * 32
    door.client.cookies["csrftoken"] = token
    door.client.credentials(HTTP_X_CSRFTOKEN=token)
    assert door.allocate(budget, content, ALICE).status_code == 202


def test_a_key_writes_without_a_csrf_token(budget: Budget, content: ContentMetadata, ada: User) -> None:
    door = Door(key=given_api_key(ada), csrf=True)
    assert door.allocate(budget, content, ALICE).status_code == 202


def test_the_allocating_user_is_the_authenticated_one_whatever_the_body_names(
    budget: Budget, content: ContentMetadata, ada: User
) -> None:
    other_user = given_user(lms_user_id=7)
    door = Door(key=given_api_key(ada))
    door.allocate(budget, content, ALICE, admin_lms_user_id=other_user.lms_user_id)
    door.allocate(budget, content, BOB, admin_lms_user_id=None)
    assert {row.allocated_by for row in LearnerContentAssignment.objects.all()} == {ada}
