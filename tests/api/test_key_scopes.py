"""An API key's scope narrows what its user's roles permit, and a key ends on its day."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from bursary.access.models import ApiKey, KeyScope, Role, User
from bursary.access.permissions import KEY_SCOPES, Permission, ScopeTooNarrow, may, may_everywhere
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, body_of, listing
from tests.world import ALICE, NOW, allocate, given_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def administrator(budget: Budget) -> User:
    return given_user(Role.ADMINISTRATOR, customer=budget.customer)


def door_with(user: User, scope: KeyScope, *, days: int = 1) -> Door:
    _row, key = ApiKey.issue(user, name="tests", scope=scope, expires_at=NOW + timedelta(days=days))
    return Door(key=key)


def test_each_scope_has_what_the_one_before_it_has_and_more() -> None:
    before: frozenset[Permission] = frozenset()
    for scope in KeyScope:
        assert before < KEY_SCOPES[scope]
        before = KEY_SCOPES[scope]
    assert before == frozenset(Permission)


def test_a_key_does_what_its_scope_has_and_is_refused_the_rest_with_a_reason(
    administrator: User, budget: Budget, content: ContentMetadata
) -> None:
    statuses = {}
    for scope in KeyScope:
        door = door_with(administrator, scope)
        allocated = door.allocate(budget, content, ALICE)
        named = [str(one.uuid) for one in LearnerContentAssignment.objects.all()]
        cancelled = door.post(f"{listing(budget)}cancel/", {"assignment_uuids": named or [str(budget.uuid)]})
        statuses[scope] = [door.policy(budget.uuid).status_code, allocated.status_code, cancelled.status_code]
        refused = [one for one in (allocated, cancelled) if one.status_code == 403]
        assert {one.json()["reason"] for one in refused} <= {"key_scope_too_narrow"}
    assert statuses == {
        KeyScope.READ: [200, 403, 403],
        KeyScope.ALLOCATE: [200, 202, 403],
        KeyScope.ADMINISTER: [200, 202, 200],
        KeyScope.OPERATE: [200, 202, 200],
    }


def test_a_learners_key_to_read_lists_their_own_and_a_wider_one_answers(
    budget: Budget, content: ContentMetadata
) -> None:
    alice = given_user(Role.LEARNER, customer=budget.customer, email=ALICE)
    allocate(budget, content, ALICE)
    redeeming = f"policy-redemption/{budget.uuid}/redeem/", {"content_key": content.content_key}
    for scope, status in ((KeyScope.READ, 403), (KeyScope.ALLOCATE, 403), (KeyScope.ADMINISTER, 200)):
        door = door_with(alice, scope)
        own = door.get("policy-redemption/credits_available/", enterprise_customer_uuid=budget.customer.uuid)
        assert len(own.json()[0]["learner_content_assignments"]) == 1
        assert door.post(*redeeming).status_code == status
        assert door.policy(budget.uuid).status_code == 404


def test_a_scope_gives_nothing_that_the_role_does_not(budget: Budget, content: ContentMetadata) -> None:
    learner = given_user(Role.LEARNER, customer=budget.customer)
    answer = door_with(learner, KeyScope.OPERATE).post(
        f"policy-allocation/{budget.uuid}/allocate/", body_of(content, ALICE)
    )
    assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")


def test_an_operator_acts_for_others_with_the_widest_scope_alone(budget: Budget) -> None:
    operator = given_user(Role.OPERATOR)
    operator.key_scope = KeyScope.ADMINISTER
    assert not may_everywhere(operator)
    assert may(operator, Permission.CANCEL, customer_pk=budget.customer_id)
    operator.key_scope = KeyScope.READ
    with pytest.raises(ScopeTooNarrow):
        may(operator, Permission.CANCEL, customer_pk=budget.customer_id)
    operator.key_scope = KeyScope.OPERATE
    assert may_everywhere(operator)


def test_a_key_that_has_expired_is_refused(administrator: User, budget: Budget) -> None:
    assert door_with(administrator, KeyScope.READ, days=1).policy(budget.uuid).status_code == 200
    assert door_with(administrator, KeyScope.READ, days=0).policy(budget.uuid).status_code == 401


@pytest.mark.parametrize("name", ["", " \u2003", "HR\nreport", "HR\x1b[2J", "HR\0", "HR\u2028", "H" * 65])
def test_the_command_refuses_a_name_that_is_not_one_line(administrator: User, name: str) -> None:
    with pytest.raises(CommandError, match="1 to 64 characters, in one line and without control characters"):
        call_command("issue_key", administrator.email, name)
    assert not ApiKey.objects.exists()


def test_the_command_issues_a_key_to_read_for_a_year(
    administrator: User, budget: Budget, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("issue_key", administrator.email, "HR report", "--dry-run")
    assert not ApiKey.objects.exists()
    capsys.readouterr()
    call_command("issue_key", administrator.email, "HR report")
    key = capsys.readouterr().out.split()[0]
    row = ApiKey.objects.get()
    assert (row.name, row.scope, row.expires_at) == ("HR report", "read", NOW + timedelta(days=365))
    assert Door(key=key).policy(budget.uuid).status_code == 200
