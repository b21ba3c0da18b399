"""The backfill of record 0023: every assignment refers to our row of its content, as far as there is one."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from uuid import UUID

from bursary.assignments import backfill
from bursary.ops.console import Advance
from bursary.replica import refresh
from bursary.replica.models import RefreshSource
from bursary.replica.refresh import ContentUnavailable

NAMED = 500
NOT_IN_CATALOG = "content_not_in_catalog"
UNAVAILABLE = "catalog_unavailable"
TO_BE_ASKED = "unknown_here"


@dataclass(frozen=True)
class LeftOut:
    """Content whose assignments could not be joined, and why. `why` is stable."""

    content_key: str
    assignments: int
    why: str
    detail: str


@dataclass
class Backfilled:
    """What a backfill did, or would do. It names the first `NAMED` keys that it left out."""

    dry_run: bool
    joined: int = 0
    contents: int = 0
    left_out_total: int = 0
    """Assignments."""
    left_out: list[LeftOut] = field(default_factory=list)
    unavailable: dict[UUID, str] = field(default_factory=dict)
    """Catalogs that did not answer."""

    def summary(self) -> dict[str, object]:
        """Return it as plain values."""
        silent = {str(catalog): why for catalog, why in self.unavailable.items()}
        return {**asdict(self), "unavailable": silent}


def run(*, clock: Callable[[], datetime], dry_run: bool, advance: Advance) -> Backfilled:
    """Join what has no content, `backfill.KEYS` keys at a time; fetch what we have no row for.

    Broken off, it is simply begun anew: what is joined is not looked at again.
    """
    done = Backfilled(dry_run)
    after = ""
    while keys := backfill.unjoined(after=after):
        after = keys[-1].content_key
        why = {} if dry_run else _fetch_unknown([one.content_key for one in keys], done, clock=clock)
        rows = backfill.contents_of([one.content_key for one in keys])
        for one in keys:
            if one.content_key in rows:
                done.contents += 1
                done.joined += (
                    one.assignments if dry_run else backfill.join(rows[one.content_key], clock=clock)
                )
            else:
                _leave_out(one, done, why=why)
            advance(done.joined + done.left_out_total)
    return done


def _fetch_unknown(
    keys: list[str], done: Backfilled, *, clock: Callable[[], datetime]
) -> dict[str, tuple[str, str]]:
    """Ask for the keys that we have no row for; return why some of them still have none."""
    known = backfill.contents_of(keys)
    why: dict[str, tuple[str, str]] = {}
    for catalog_uuid, asked in sorted(
        backfill.whom_to_ask([key for key in keys if key not in known]).items()
    ):
        if catalog_uuid not in done.unavailable:
            try:
                report = refresh.refresh_keys(
                    asked.values(),
                    catalog_uuid=catalog_uuid,
                    source=refresh.configured_source(),
                    now=clock(),
                    by=RefreshSource.CRON,
                )
            except ContentUnavailable as silence:
                done.unavailable[catalog_uuid] = str(silence)
            else:
                named = {one.key: (one.reason, one.detail) for one in report.unparsable}
                why |= {key: named[other] for key, other in asked.items() if other in named}
        if catalog_uuid in done.unavailable:
            why |= dict.fromkeys(asked, (UNAVAILABLE, done.unavailable[catalog_uuid]))
    return why


def _leave_out(one: backfill.Unjoined, done: Backfilled, *, why: dict[str, tuple[str, str]]) -> None:
    done.left_out_total += one.assignments
    if done.dry_run:
        reason, detail = TO_BE_ASKED, "The catalog would be asked for it."
    else:
        absent = (NOT_IN_CATALOG, "No catalog of the budgets concerned has it.")
        reason, detail = why.get(one.content_key, absent)
    if len(done.left_out) < NAMED:
        done.left_out.append(LeftOut(one.content_key, one.assignments, reason, detail))
