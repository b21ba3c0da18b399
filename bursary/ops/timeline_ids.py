"""The assignments that an id means: their own, or that of an action, a batch or a mail, as logs name them."""

import re
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from bursary.assignments.choices import Status
from bursary.assignments.mail_reports import PROVIDERS_NAMES
from bursary.assignments.models import (
    DeadlineNotice,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def find(text: str, *, now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that the text means; none, where it means nothing.

    One: by its own uuid or number, an action's, or that of the money's transaction; by a `Message-ID` or its
    file's name, which have the action's uuid; by another name that a provider gave to work which was done in
    the last `PROVIDERS_NAMES`. All that an allocation batch allocated, by the batch's uuid; those of a
    deadline notice's budget and content.
    """
    return next((found for found in _meanings(text.strip(), now=now) if found.exists()), _all().none())


def _meanings(text: str, *, now: datetime) -> Iterator[QuerySet[LearnerContentAssignment]]:
    """Yield the possible meanings, the frequent ones first. Each is a range of an index."""
    if found := _UUID.search(text):
        uuid = UUID(found[0])
        yield _all().filter(uuid=uuid)
        yield _all().filter(actions__uuid=uuid)
        yield _all().filter(allocation_batch_uuid=uuid)
        for notice in DeadlineNotice.objects.filter(uuid=uuid):
            yield _all().filter(budget=notice.budget_id, content=notice.content_id)
        yield _all().filter(transaction_uuid=uuid)
    elif text.isascii() and text.isdecimal() and len(text) <= 18:
        yield _all().filter(pk=int(text))
    if text:
        # An index of providers' names would cost each action an entry as long as the name, for this alone.
        done = LearnerContentAssignmentAction.objects.filter(
            status=Status.DONE, completed_at__gte=now - PROVIDERS_NAMES, provider_ref=text
        )
        yield _all().filter(pk__in=done.values("assignment"))


def _all() -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.order_by("pk")
