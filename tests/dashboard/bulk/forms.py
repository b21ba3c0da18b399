"""The forms of bulk work as a browser sends them, and what is stored then."""

import html
import re
from datetime import timedelta
from typing import Any

from django.test import Client

from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests import world

SELECTED = "/assignments/selected/"


def given_five_notified() -> None:
    """Make a budget with five learners, notified a day ago."""
    world.allocate(world.given_budget(name="Languages"), world.given_content(), *world.addresses(5))
    world.deliver()
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    mails.update(created=world.NOW - timedelta(days=1))


def rows() -> list[LearnerContentAssignment]:
    return list(LearnerContentAssignment.objects.order_by("pk"))


def states() -> list[str]:
    return [row.state for row in rows()]


def reminders() -> int:
    return LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED).count()


def post(client: Client, **form: Any) -> Any:
    return send(client, form)


def send(client: Client, form: dict[str, Any], **more: Any) -> Any:
    """Send a form, and follow to the question or the result."""
    return client.post(SELECTED, form, follow=True, **more)


def text(answer: Any, *, status: int = 200) -> str:
    assert answer.status_code == status
    return " ".join(html.unescape(answer.content.decode()).split())


def heading(page: str) -> str:
    """Return the heading of the page of a result, which is announced when it changes."""
    [found] = re.findall(r'<h1 [^>]*><span id="title" role="status">(.*?)</span></h1>', page)
    return str(found)


def form_of(page: str) -> dict[str, Any]:
    """Return the hidden fields of the page's form, as a browser sends them."""
    fields: dict[str, Any] = {"uuid": []}
    within = page.partition("<main")[2] or page
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', within):
        if name == "uuid":
            fields["uuid"].append(value)
        else:
            fields[name] = value
    return fields
