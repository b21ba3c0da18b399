"""Knocking at the machines' door: its addresses, with a key, a session or nothing, and what to send."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from bursary.access.models import Role, User
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, Customer
from bursary.replica.models import ContentMetadata
from tests.described import DescribedClient
from tests.world import PRICE, given_api_key, given_user

Answer = Any
"""What the test client returns; its stubs are narrower than what is asked of it here."""


class Door:
    """Knocks at the API's addresses, with an API key, a session or nothing, and returns the answers."""

    ROOT = "/api/v1"

    def __init__(self, *, key: str | None = None, session: User | None = None, csrf: bool = False) -> None:
        self.client: Any = DescribedClient(enforce_csrf_checks=csrf)
        if key is not None:
            self.client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        if session is not None:
            self.client.force_login(session)

    def get(self, path: str, **query: object) -> Answer:
        return self.client.get(f"{self.ROOT}/{path}", query)

    def post(self, path: str, body: object) -> Answer:
        return self.client.post(f"{self.ROOT}/{path}", body, format="json")

    def send(self, method: str, path: str, body: bytes = b"", **more: Any) -> Answer:
        """Send bytes as they are."""
        return self.client.generic(
            method, f"{self.ROOT}/{path}", body, **{"content_type": "application/json"} | more
        )

    def policies(self, **query: object) -> Answer:
        return self.get("subsidy-access-policies/", **query)

    def policy(self, uuid: UUID | str) -> Answer:
        return self.get(f"subsidy-access-policies/{uuid}/")

    def allocate(
        self, budget: Budget, content: ContentMetadata, *addresses: object, **changes: object
    ) -> Answer:
        return self.post(allocating(budget), body_of(content, *addresses, **changes))

    def can_allocate(
        self, budget: Budget, content: ContentMetadata, *addresses: object, **changes: object
    ) -> Answer:
        return self.post(allocating(budget, dry=True), body_of(content, *addresses, **changes))

    def assignments(self, budget: Budget, **query: object) -> Answer:
        return self.get(listing(budget), **query)

    def assignment(self, assignment: LearnerContentAssignment) -> Answer:
        return self.get(f"{listing(assignment.budget)}{assignment.uuid}/")

    def timeline(self, assignment: LearnerContentAssignment, **query: object) -> Answer:
        return self.get(f"{listing(assignment.budget)}{assignment.uuid}/actions/", **query)

    def cancel(self, budget: Budget, *uuids: object) -> Answer:
        named = [str(uuid) for uuid in uuids]
        return self.post(f"{listing(budget)}cancel/", {"assignment_uuids": named})

    def remind(self, budget: Budget, *uuids: object) -> Answer:
        named = [str(uuid) for uuid in uuids]
        return self.post(f"{listing(budget)}remind/", {"assignment_uuids": named})

    def nudge(self, budget: Budget, *uuids: object, **more: object) -> Answer:
        named = [str(uuid) for uuid in uuids]
        return self.post(f"{listing(budget)}nudge/", {"assignment_uuids": named} | more)

    def to_all(self, budget: Budget, verb: str, **filters: object) -> Answer:
        """Do it as the administrator's browser does: without a body, filters as the query string."""
        return self.client.post(f"{self.ROOT}/{listing(budget)}{verb}-all/?{urlencode(filters)}")

    def can_redeem(self, budget: Budget, *keys: str) -> Any:
        path = f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/"
        return self.get(path, content_key=list(keys)).json()

    def content(self, **query: object) -> Answer:
        return self.get("content-metadata/", **query)


def door_of(role: Role | None, *, customer: Customer | None = None) -> Door:
    """Return the door for a user with that role, with an API key."""
    return Door(key=given_api_key(given_user(role, customer=customer)))


def listing(budget: Budget) -> str:
    """Return the address of a budget's assignments."""
    return f"assignment-configurations/{budget.assignment_configuration_uuid}/admin/assignments/"


def allocating(budget: Budget, *, dry: bool = False) -> str:
    """Return the URL that allocates from a budget, or the one that previews it."""
    return f"policy-allocation/{budget.uuid}/{'can-allocate' if dry else 'allocate'}/"


def body_of(content: ContentMetadata, *addresses: object, **changes: object) -> dict[str, object]:
    """Return the body of an allocation as the administrator's browser sends it."""
    return {
        "content_key": content.content_key,
        "content_price_cents": PRICE,
        "learner_emails": list(addresses),
        "admin_lms_user_id": 1,
    } | changes


def of_the_budget(assignment: LearnerContentAssignment) -> Iterator[tuple[str, str]]:
    """Yield method and address of everything that is asked of one budget."""
    rows = listing(assignment.budget)
    yield "GET", f"subsidy-access-policies/{assignment.budget.uuid}/"
    yield "POST", allocating(assignment.budget)
    yield "POST", allocating(assignment.budget, dry=True)
    yield "GET", rows
    yield "GET", f"{rows}{assignment.uuid}/"
    yield "GET", f"{rows}{assignment.uuid}/actions/"
    for verb in ("cancel", "cancel-all", "remind", "remind-all", "nudge"):
        yield "POST", f"{rows}{verb}/"


def for_every_user(content: ContentMetadata) -> Iterator[tuple[str, str]]:
    """Yield method and address of what belongs to no budget."""
    yield "GET", "subsidy-access-policies/"
    yield "GET", "content-metadata/"
    yield "GET", f"content-metadata/{content.content_key}/"
    yield "GET", f"content-metadata/{content.content_key}/changes/"
    yield "GET", f"content-metadata/{content.content_key}/impact/"


def refusal_of(answer: Answer) -> tuple[int, str]:
    """Return the status and the reason of a refusal, having seen that it says what to do next."""
    body = answer.json()
    refusal = body[0] if isinstance(body, list) else body
    assert refusal["next_step"]
    assert refusal.get("detail") or refusal["user_message"]
    return answer.status_code, refusal["reason"]
