"""Bulk work in the user's session: its question and its result, each at an address that can be loaded again.

So a result that is loaded again, or left by the button Back, does nothing a second time.
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

MAX_REMARKS = 1000  # of a piece of work

_STEP = "step"


@dataclass(frozen=True)
class KeptResult:
    """A piece of work as it stands, with the first `MAX_REMARKS` of its remarks."""

    work: BulkSteps
    remarks: list[Remark]
    unnamed: int
    """The number of further remarks."""


def keep_question(session: SessionBase, work: BulkSteps) -> str:
    """Keep what is asked for; return the token of its question's address."""
    token = secrets.token_urlsafe(9)
    kept_results.keep(
        session, kind=kept_results.BULK_WORK, name=token, piece={"fields": work.fields, "remarks": []}
    )
    return token


def keep_result(session: SessionBase, token: str, work: BulkSteps, result: BatchResult) -> str:
    """Keep a piece of work as it stands after a batch; return the token of its result's address.

    `token` is that of its question, or of its result so far. Where that is not kept, there is a new one.
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
    """Return what a question asks about, None where it is not kept; and whether it is answered."""
    kept = kept_results.kept(session, kind=kept_results.BULK_WORK, name=token)
    return (None, False) if kept is None else (_query(kept["fields"]), _STEP in kept["fields"])


def result(session: SessionBase, token: str, *, user: User, now: datetime) -> KeptResult | None:
    """Return a piece of work as it stands; None where it is not kept. Raises Http404."""
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
