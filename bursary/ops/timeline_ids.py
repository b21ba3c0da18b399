"""Finds the assignments that an id in a log line belongs to, or the command that explains another id."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Q, QuerySet

from bursary.access import known_learners
from bursary.access.models import learner_key, of_mailboxes
from bursary.assignments import address_corrections
from bursary.assignments.choices import Status
from bursary.assignments.mail_reports import PROVIDER_REF_VALID_FOR
from bursary.assignments.models import (
    AdministratorNotice,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Budget
from bursary.events.models import EventSource, InboxEvent
from bursary.lib.numbers import from_digits
from bursary.ops.models import ScheduledTask
from bursary.replica.models import CatalogListing

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
CORRECTION_FOUND_FOR = timedelta(days=30)
MAX_KEYS = 10
"""Content keys that a sentence names at most."""
IDS = (
    "the uuid of an assignment, an action, an allocation batch, a notice, a transaction or a budget; the id "
    "of an event; a Message-ID; the name that a mail provider gave to a mail in the last thirty days; or a "
    "learner's address, also one that was corrected in the last thirty days"
)


def find(text: str, *, now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that the text identifies, if any.

    One assignment is found by its uuid or number, an action's, or its transaction's; by a `Message-ID` or a
    mail file's name, which contain the action's uuid; by a provider's name for work that was done within
    `PROVIDER_REF_VALID_FOR`; by an event about its money or mail. Several are found by the uuid of an
    allocation batch, a notice to administrators (those of its budget and content) or a budget, or by any
    address of a learner, with what was corrected from it within `CORRECTION_FOUND_FOR`; those of a budget or
    learner are sorted by their latest action, the latest first.
    """
    return next((found for found in _meanings(text.strip(), now=now) if found.exists()), _all().none())


def require(text: str, *, now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that the text identifies: see `find`. Raises CommandError if there is none."""
    found = find(text, now=now)
    if found.exists():
        return found
    if known := answered_by(text):
        raise CommandError(f"No assignment is found by {text}. {known}")
    raise CommandError(
        f"Nothing is found by {text}. Give {IDS}. Users and accounts are in the admin, by number."
    )


def answered_by(text: str) -> str:
    """Return what an id without an assignment is, and the command that explains it; "" if unknown."""
    text = text.strip()
    for event in _events(text):
        keys = " ".join(event.payload.get("content_keys", ())[:MAX_KEYS])
        outcome = event.outcome or "waiting"
        about = f" `bursary explain_content KEY` answers for its content: {keys}." if keys else ""
        return f"This is an event, {event.kind}: {outcome}. {event.last_error}".rstrip() + about
    if ScheduledTask.objects.filter(name=text).exists():
        return "This is a scheduled task: `bursary status --json` has its last run and error."
    if found := _UUID.search(text):
        if CatalogListing.objects.filter(catalog_uuid=found[0]).exists():
            return (
                "This is a catalog: Catalog listings in the admin has its last reading and error, and "
                f"`bursary refresh_content --catalog {found[0]}` reads it now."
            )
        if Budget.objects.filter(uuid=found[0]).exists():
            return "This is a budget, and nothing has been assigned from it."
    return ""


def _meanings(text: str, *, now: datetime) -> Iterator[QuerySet[LearnerContentAssignment]]:
    """Yield the possible meanings, the frequent ones first. Each query reads a range of an index."""
    if found := _UUID.search(text):
        uuid = UUID(found[0])
        yield _all().filter(uuid=uuid)
        yield _all().filter(actions__uuid=uuid)
        yield _all().filter(allocation_batch_uuid=uuid)
        for notice in AdministratorNotice.objects.filter(uuid=uuid):
            yield _all().filter(budget=notice.budget_id, content=notice.content_id)
        yield _all().filter(transaction_uuid=uuid)
        for budget in Budget.objects.filter(uuid=uuid):
            yield _all().filter(budget=budget).order_by("-recent_action_at", "-pk")
    elif (number := from_digits(text, max_digits=18)) is not None:
        yield _all().filter(pk=number)
    if text:
        # An index of providers' names would have an entry for each action, and serve only this query.
        yield _of_mail(text, now=now)
        for event in _events(text):
            yield from _of_event(event.payload, now=now)
    if "@" in text:
        person = of_mailboxes(known_learners.all_keys(learner_key(text)))
        corrected = address_corrections.corrected_from(text, since=now - CORRECTION_FOUND_FOR)
        # As numbers: for an alternative that is a query, PostgreSQL reads every assignment.
        known = person | Q(pk__in=list(corrected.order_by().values_list("pk", flat=True)))
        yield _all().filter(known).order_by("-recent_action_at", "-pk")


def _of_event(payload: Mapping[str, Any], *, now: datetime) -> Iterator[QuerySet[LearnerContentAssignment]]:
    if transaction_uuid := payload.get("transaction_uuid"):
        yield _all().filter(transaction_uuid=transaction_uuid)
    if mail := payload.get("mail"):
        yield _all().filter(actions__uuid=mail)
    if provider_ref := payload.get("provider_ref"):
        yield _of_mail(provider_ref, now=now)


def _of_mail(provider_ref: str, *, now: datetime) -> QuerySet[LearnerContentAssignment]:
    done = LearnerContentAssignmentAction.objects.filter(
        status=Status.DONE, completed_at__gte=now - PROVIDER_REF_VALID_FOR, provider_ref=provider_ref
    )
    return _all().filter(pk__in=done.values("assignment"))


def _events(text: str) -> QuerySet[InboxEvent]:
    """Return the events with this id: at most one of each source."""
    return InboxEvent.objects.filter(source__in=EventSource.values, event_id=text)


def _all() -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.order_by("pk")
