"""Erasure of learners' data in the tables and outside them: in mail files and in SQLite's files."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from bursary.access.models import User
from bursary.assignments import erasure, learner_identity
from bursary.assignments.choices import State
from bursary.assignments.erasure import ErasureResult
from bursary.delivery import file_backend
from bursary.lib.batches import ProgressCallback
from bursary.ops import mentions
from bursary.ops.console import counted_in_words
from bursary.ops.database import expect_traces, leave_no_traces

MAX_ROUNDS = 5
NOTHING_KNOWN = "Nothing is known of this address."
STILL_WRITTEN = {
    "assignment": None,
    "reason": "still_written",
    "detail": "Something goes on writing the address.",
    "next_step": "Find what still sends the address, then try again.",
}
TRACES_LEFT = "SQLite's files could not be rewritten and may hold traces. The next run does it."


def run(*, now: datetime, on_progress: ProgressCallback | None = None) -> dict[str, object]:
    """Erase the learners' data of expired assignments that are due; return the result as plain values.

    `failed_budgets` (uuids, with the error) are unchanged. The next run retries them, and completes the run
    of a process that died.
    """
    swept, removed = erasure.forget_due(now=now, remove=_remove, on_progress=on_progress)
    return {
        "forgotten": swept.done,
        "mails_removed": removed,
        "failed_budgets": swept.failed,
        "traces_removed": leave_no_traces(),
    }


def forget(address: str, *, now: datetime, actor: User | None = None) -> dict[str, object]:
    """Erase a person's data everywhere; return what was done and what has to wait, as plain values.

    Every address, key and id of the person is looked up first. Then all tables and mail files are searched
    repeatedly, until a round finds nothing. Raises matching.BadAddresses.
    """
    expect_traces()
    learner = learner_identity.trace(address)
    done, mentioned = ErasureResult(), 0
    for _ in range(MAX_ROUNDS):
        this = erasure.forget(address, now=now, remove=_remove, actor=actor, learner=learner)
        done += this
        # The accounts are looked up once, so that each round counts them again.
        done.links, done.accounts = done.links + this.links, max(done.accounts, this.accounts)
        done.not_yet, done.failed = this.not_yet, this.failed  # of the last round
        if not this.complete:
            break
        texts = mentions.erase(learner)
        mails = file_backend.remove_mentioning(mentions.pattern(learner))
        mentioned, done.mails = mentioned + texts, done.mails + mails
        if not (this.forgotten or this.elsewhere or texts or mails):
            break
    else:
        done.not_yet.append(dict(STILL_WRITTEN))
    return {
        "complete": done.complete,
        "cancelled": done.cancelled,
        "forgotten": done.forgotten,
        "elsewhere": done.elsewhere,
        "mails_removed": done.mails,
        "links_removed": done.links,
        "accounts_anonymised": done.accounts,
        "mentions_removed": mentioned,
        "not_yet": done.not_yet,
        "failed_budgets": done.failed,
        "traces_removed": leave_no_traces(),
    }


def preview(address: str) -> tuple[dict[str, object], str]:
    """Return the counts of an address's data, as plain values and in a sentence. Raises BadAddresses."""
    known = erasure.preview(address)
    total = sum(known.assignments.values())
    still_open = known.assignments.get(State.ALLOCATED, 0)
    sentence = (
        f"{counted_in_words(total, 'assignment')} ({still_open} open: to be cancelled), "
        f"{counted_in_words(known.elsewhere, 'action')} of others, {counted_in_words(known.links, 'link')} "
        f"and {counted_in_words(known.accounts, 'account')} would be forgotten."
    )
    if not (total or known.elsewhere or known.links or known.accounts):
        sentence = NOTHING_KNOWN
    return asdict(known), sentence


def _remove(actions: Sequence[UUID]) -> int:
    expect_traces()
    return file_backend.remove(actions)
