"""The page on which an administrator assigns, as a browser uses it, and what is stored in the end."""

import html
from typing import Any

from django.test import Client
from django.urls import reverse

from bursary.access.models import User
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata


class Desk:
    """The page on which a budget's administrator assigns."""

    def __init__(self, client: Client, budget: Budget, user: User) -> None:
        self.client, self.budget, self.user = client, budget, user
        self.address = reverse("assign", args=[budget.uuid])
        client.force_login(user)

    def open(self, **query: str) -> str:
        return self.text(self.client.get(self.address, query))

    def preview(self, *asked: Any, **changes: Any) -> str:
        return self.text(self.press("preview", *asked, **changes))

    def assign(self, *asked: Any, **changes: Any) -> str:
        return self.text(self.press("assign", *asked, **changes))

    def press(self, button: str, content: ContentMetadata, typed: str, **changes: Any) -> Any:
        course = f"{changes.pop('price', content.price_cents)} {content.content_key}"
        body = {"course": course, "addresses": typed, button: "yes"} | changes
        return self.client.post(self.address, body, follow=True)

    @staticmethod
    def text(answer: Any) -> str:
        assert answer.status_code == 200
        return html.unescape(answer.content.decode())


def stored() -> list[tuple[str, str, int]]:
    """Return every assignment as address, state and price."""
    rows = LearnerContentAssignment.objects.order_by("pk")
    return list(rows.values_list("learner_email", "state", "price_cents"))


def nothing_was_done(budget: Budget) -> bool:
    budget.refresh_from_db()
    return not stored() and budget.reserved_cents == 0
