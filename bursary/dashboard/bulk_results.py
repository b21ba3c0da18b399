"""Bulk work in the user's session: its question and its result, each at a URL that can be reloaded.

So reloading a result, or leaving it with the Back button, does not repeat the work.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.sessions.backends.base import SessionBase
from django.http import QueryDict

from bursary.access.models import User
from bursary.dashboard import bulk_work, kept_results
from bursary.dashboard.bulk_steps import BulkSteps
from bursary.dashboard.bulk_work import BatchResult, Remark

MAX_REMARKS = 1000  # kept for one piece of work

_STEP = "step"


@dataclass(frozen=True)
class KeptResult:
    """The present result of bulk work, with the first `MAX_REMARKS` of its remarks."""

    work: BulkSteps
    remarks: list[Remark]
    unnamed: int
    """The number of further remarks."""


def keep_question(session: SessionBase, work: BulkSteps) -> str:
    """Keep the requested work; return the token in its question's URL."""
    token = secrets.token_urlsafe(9)
    kept_results.keep(
        session, kind=kept_results.BULK_WORK, name=token, piece={"fields": work.fields, "remarks": []}
    )
    return token


def keep_result(session: SessionBase, token: str, work: BulkSteps, result: BatchResult) -> str:
    """Keep the result of bulk work after a batch; return the token in its URL.

    `token` is that of the question, or of the result so far. If that is no longer kept, a new one is made.
    """
    before = kept_results.kept(session, kind=kept_results.BULK_WORK, name=token)
    remarks = before["remarks"] if before and work.is_under_way else []
    remarks += [[str(one.assignment.uuid), one.kind, one.sentence] for one in result.remarks]
    unnamed = before.get("unnamed", 0) if before and work.is_under_way else 0
    piece = {
        "fields": {**work.fields, _STEP: [work.step]},
        "remarks": remarks[:MAX_REMARKS],
        "unnamed": unnamed + len(remarks[MAX_REMARKS:]),
    }
    token = token if before else secrets.token_urlsafe(9)
    kept_results.keep(session, kind=kept_results.BULK_WORK, name=token, piece=piece)
    return token


def question(session: SessionBase, token: str) -> tuple[QueryDict | None, bool]:
    """Return the form fields of a question, None if it is not kept; and whether it was answered."""
    kept = kept_results.kept(session, kind=kept_results.BULK_WORK, name=token)
    return (None, False) if kept is None else (_query(kept["fields"]), _STEP in kept["fields"])


def result(session: SessionBase, token: str, *, user: User, now: datetime) -> KeptResult | None:
    """Return the present result of bulk work; None if it is not kept. Raises Http404."""
    kept = kept_results.kept(session, kind=kept_results.BULK_WORK, name=token)
    if kept is None or _STEP not in kept["fields"]:
        return None
    fields = _query(kept["fields"])
    work = BulkSteps(fields, bulk_work.VERBS[str(fields["verb"])], user=user, now=now)
    sentences = {UUID(uuid): (kind, sentence) for uuid, kind, sentence in kept["remarks"]}
    if not work.is_under_way:
        return None
    return KeptResult(work, bulk_work.remarks(sentences, now=now), kept.get("unnamed", 0))


def _query(fields: Mapping[str, Sequence[str]]) -> QueryDict:
    query = QueryDict(mutable=True)
    for name, values in fields.items():
        query.setlist(name, list(values))
    return query
