"""The addresses that only clients ask: which roles may, and what unusable questions are answered."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import uuid4

import pytest

from bursary.access.models import Role
from bursary.access.permissions import PERMISSIONS, Permission
from bursary.budgets.models import Budget
from tests.api.door import Answer, Door, door_of, refusal_of
from tests.world import given_customer

pytestmark = pytest.mark.django_db

KINDS = ("learner-credit", "license", "coupon-code")
PAGES = ("dashboard", "search", "academy", "skills-quiz")


class Question(NamedTuple):
    """A method, an address, and its parameters."""

    method: str
    path: str
    parameters: dict[str, object]


def questions(customer: str, account: str) -> Iterator[tuple[Permission, Question]]:
    """Yield each question about an organisation, with the permission that it needs."""
    of_it = {"enterprise_customer_uuid": customer}
    for name in PAGES:
        yield Permission.READ_OWN, Question("post", f"bffs/learner/{name}/", {**of_it})
    for kind in KINDS:
        yield Permission.READ_OWN, Question("get", f"{kind}-requests/", {**of_it})
        yield Permission.READ_OWN, Question("get", f"{kind}-requests/overview/", {**of_it})
    yield Permission.READ_OWN, Question("get", f"customer-configurations/{customer}/", {})
    yield Permission.READ_BUDGET, Question("post", "customer-configurations/", {**of_it})
    of_course: dict[str, object] = {"content_key": "GlobeX+M245"}
    asking = f"policy-redemption/enterprise-customer/{customer}/can-request/"
    yield Permission.READ_OWN, Question("get", asking, of_course)
    yield Permission.READ_ASSIGNMENTS, Question("get", "admin-view/learner_profile/", {**of_it})
    yield Permission.READ_ASSIGNMENTS, Question("get", f"/api/v2/subsidies/{account}/admin/transactions/", {})


def ask(door: Door, question: Question) -> Answer:
    method, path, parameters = question
    address = path if path.startswith("/") else f"{door.ROOT}/{path}"
    if method == "get":
        return door.client.get(address, parameters)
    return door.client.post(address, parameters, format="json")


@pytest.mark.parametrize("role", Role)
def test_each_is_answered_to_the_roles_that_the_table_of_permissions_names(
    budget: Budget, role: Role
) -> None:
    own = door_of(role, customer=None if role is Role.OPERATOR else budget.customer)
    for permission, question in questions(str(budget.customer.uuid), str(budget.account.uuid)):
        answer = ask(own, question)
        if role in PERMISSIONS[permission]:
            assert answer.status_code == 200, question
        else:
            assert refusal_of(answer) == (404, "not_found"), question


def test_none_is_answered_to_strangers(budget: Budget) -> None:
    refused = {
        Door(): (401, "not_signed_in"),
        door_of(None): (404, "not_found"),
        door_of(Role.ADMINISTRATOR, customer=given_customer()): (404, "not_found"),
    }
    for _permission, question in questions(str(budget.customer.uuid), str(budget.account.uuid)):
        for door, expected in refused.items():
            assert refusal_of(ask(door, question)) == expected, question


def test_an_organisation_that_there_is_not_is_404(budget: Budget) -> None:
    operator = door_of(Role.OPERATOR)
    for _permission, question in questions(str(uuid4()), str(uuid4())):
        assert refusal_of(ask(operator, question)) == (404, "not_found"), question


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("license-requests/", {}, "enterprise_customer_uuid"),
        ("license-requests/overview/", {"enterprise_customer_uuid": "x"}, "enterprise_customer_uuid"),
        ("admin-view/learner_profile/", {"lms_user_id": "me"}, "lms_user_id"),
    ],
)
def test_a_question_without_an_organisation_is_refused(
    door: Door, path: str, query: dict[str, str], field: str
) -> None:
    answer = door.get(path, **query)
    assert refusal_of(answer) == (400, "invalid_request")
    assert field in answer.json()


def test_content_must_be_named_to_ask_for_it(door: Door, budget: Budget) -> None:
    answer = door.get(f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-request/")
    assert refusal_of(answer) == (400, "invalid_request")


def test_requests_cannot_be_switched_on(door: Door, budget: Budget) -> None:
    body = {"enterprise_customer_uuid": str(budget.customer.uuid), "subsidy_requests_enabled": True}
    answer = door.post("customer-configurations/", body)
    assert refusal_of(answer) == (400, "invalid_request")
    assert answer.json()["subsidy_requests_enabled"] == ["Learners cannot ask for courses here."]
