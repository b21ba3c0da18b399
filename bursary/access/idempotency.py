"""Requests that are done once, however often they are sent with one `Idempotency-Key` (decision 0021).

The row is committed before the work, under a lease, so that every process refuses a repetition meanwhile.
The answer is stored, and returned to repetitions. If the work fails, its row is deleted, so that the request
can be repeated; if the process is killed, it can be repeated when the lease ends.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings

from bursary.access.models import IdempotentRequest, User
from bursary.lib import leases
from bursary.lib.inserts import insert_missing
from bursary.lib.retries import in_transaction, repeated_after_deadlocks

LEASE = timedelta(minutes=5)
"""Longer than any request runs."""


class RequestRunning(Exception):
    """The same request is running, or its process was killed. Nothing was changed."""


class KeyReused(Exception):
    """The key was used with another query or body. Nothing was changed."""


def begin(
    user: User, *, identity: str, fingerprint: str, admit: Callable[[], None] = lambda: None, now: datetime
) -> IdempotentRequest:
    """Claim a request and return it. If it was answered before, return that row, which has a status.

    `admit` is called before a new row is written, so that no row is left if it raises. Raises RequestRunning,
    KeyReused; RuntimeError inside a transaction, which would hide the row.
    """
    rows = IdempotentRequest.objects.filter(identity=identity)
    known = rows.first()
    if known is not None and known.status is not None and known.is_past(now=now):
        lapsed = rows.filter(pk=known.pk, fence=known.fence, status__isnull=False)
        repeated_after_deadlocks(lapsed.delete)()
        known = None
    if known is None:
        admit()
        new = IdempotentRequest(
            user=user,
            identity=identity,
            fingerprint=fingerprint,
            created=now,
            due_at=now,
            early=leases.NOT_BEFORE,
        )
        in_transaction(lambda: insert_missing([new], unique=["identity"]))
        known = rows.first()
    if known is None:  # another process inserted the row, failed, and deleted it
        raise RequestRunning
    if known.fingerprint != fingerprint:
        raise KeyReused
    if known.status is not None:
        return known
    # Read first: on SQLite, a claim would wait for the running request's write transaction.
    every, mine = IdempotentRequest.objects.all, [known.pk]
    if leases.any_due(every, now=now, pks=mine):
        for claimed in leases.claim(every, now=now, lease=LEASE, limit=1, pks=mine):
            return claimed
    raise RequestRunning


def finish(
    request: IdempotentRequest, *, status: int, body: object, abridged: bool = False, now: datetime
) -> bool:
    """Store the answer for `KEEP_ANSWERS`; return False if the claim was lost."""
    kept = leases.settle(
        [request], due_at=now + settings.KEEP_ANSWERS, now=now, status=status, body=body, abridged=abridged
    )
    return bool(kept)


def give_up(request: IdempotentRequest) -> None:
    """Delete the request's row, so that the request can be repeated."""
    leases.discard(request)


def delete_old(*, now: datetime) -> int:
    """Delete lapsed answers, and the rows of killed processes; return their number, bounded."""
    return leases.delete_past(IdempotentRequest.objects.all(), now=now)


def digest_of_texts(*parts: str) -> str:
    """Return one digest of several texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
