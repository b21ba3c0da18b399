"""Forgetting learners, with everything that lies outside the tables: mail files, and SQLite's log."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from bursary.access.models import User
from bursary.assignments import erasure
from bursary.assignments.choices import State
from bursary.assignments.erasure import ErasurePreview
from bursary.delivery import file_backend
from bursary.ops.console import Advance
from bursary.ops.database import expect_traces, leave_no_traces

TRACES_LEFT = "SQLite's files could not be written anew, and may hold traces. It is done by the next run."


def run(*, now: datetime, advance: Advance | None = None) -> dict[str, object]:
    """Forget everybody whose assignment expired and who was told; return what was done, as plain values.

    `failed_budgets` (pks, with the error) are untouched and come again the next time; so does what was left
    when a process died halfway.
    """
    swept, removed = erasure.forget_due(now=now, remove=_remove, progress=advance)
    return {
        "forgotten": swept.done,
        "mails_removed": removed,
        "failed_budgets": swept.failed,
        "traces_removed": leave_no_traces(),
    }


def forget(address: str, *, now: datetime, actor: User | None = None) -> dict[str, object]:
    """Forget an address everywhere; return what was done and what has to wait, as plain values.

    Raises addresses.BadAddresses.
    """
    expect_traces()
    done = erasure.forget(address, now=now, remove=_remove, actor=actor)
    return {
        "complete": done.complete,
        "cancelled": done.cancelled,
        "forgotten": done.forgotten,
        "mails_removed": done.mails,
        "links_removed": done.links,
        "accounts_anonymised": done.accounts,
        "not_yet": done.not_yet,
        "failed_budgets": done.failed,
        "traces_removed": leave_no_traces(),
    }


def preview(address: str) -> tuple[dict[str, object], str]:
    """Return what is known of an address: as plain values, and in a sentence. Raises BadAddresses."""
    known = erasure.preview(address)
    return asdict(known), _sentence(known)


def _remove(actions: Sequence[UUID]) -> int:
    expect_traces()
    return file_backend.remove(actions)


def _sentence(known: ErasurePreview) -> str:
    total = sum(known.assignments.values())
    still_open = known.assignments.get(State.ALLOCATED, 0)
    if not (total or known.elsewhere or known.links or known.accounts):
        return "Nothing is known of this address."
    return (
        f"{total} assignments ({still_open} open: to be cancelled), {known.elsewhere} actions of others, "
        f"{known.links} links and {known.accounts} accounts would be forgotten."
    )
