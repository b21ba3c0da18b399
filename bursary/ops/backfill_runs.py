"""The backfill (decision 0009): attaches assignments without content to the replica's rows."""

from dataclasses import dataclass, field

from bursary.assignments import backfill
from bursary.lib.batches import ProgressCallback
from bursary.lib.clock import Clock
from bursary.replica import refresh
from bursary.replica.models import RefreshTrigger
from bursary.replica.refresh import ContentUnavailable

NAMED = 500

_Reason = tuple[str, str]
"""Why content is left out: a stable code, and a sentence."""
_NOT_IN_CATALOG = ("content_not_in_catalog", "No catalog of the budgets concerned has it.")
_NOT_ASKED = ("unknown_here", "The catalog would be asked for it.")


@dataclass(frozen=True)
class SkippedContent:
    """Content that no assignment could be attached to. `why` is a stable code, `detail` is for people."""

    content_key: str
    assignments: int
    why: str
    detail: str


@dataclass
class BackfillRun:
    """The result of a backfill, or of its dry run. Of the content left out, it has the first `NAMED` keys."""

    dry_run: bool
    attached: int = 0
    contents: int = 0
    left_out_total: int = 0
    """Assignments."""
    left_out: list[SkippedContent] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    """By the catalog's uuid, why it did not answer."""

    def leave_out(self, skipped: SkippedContent) -> None:
        self.left_out_total += skipped.assignments
        if len(self.left_out) < NAMED:
            self.left_out.append(skipped)


def run(*, clock: Clock, dry_run: bool, on_progress: ProgressCallback) -> BackfillRun:
    """Attach assignments without content, `backfill.KEYS` keys at a time; fetch content that has no row.

    An interrupted run is repeated from the beginning: it skips the assignments that are attached already.
    """
    done = BackfillRun(dry_run)
    for page in backfill.unattached():
        keys = [one.content_key for one in page]
        reasons = {} if dry_run else _fetch_unknown(keys, done, clock=clock)
        rows = backfill.contents_of(keys)
        for one in page:
            found, rest = rows[one.content_key], one.assignments
            for pk, waiting in found.items():
                attached = waiting if dry_run else backfill.attach(pk, clock=clock)
                rest -= attached
                done.attached += attached
                done.contents += 1
            if rest > 0:
                reason = reasons.get(one.content_key, _NOT_ASKED if dry_run else _NOT_IN_CATALOG)
                done.leave_out(SkippedContent(one.content_key, rest, *reason))
            on_progress(done.attached + done.left_out_total)
    return done


def _fetch_unknown(keys: list[str], done: BackfillRun, *, clock: Clock) -> dict[str, _Reason]:
    """Fetch from each catalog the keys that the replica lacks for it; return why keys are still missing."""
    unknown = backfill.keys_to_look_up(keys)
    reasons: dict[str, _Reason] = {}
    for catalog_uuid, asked in sorted(unknown.items()):
        try:
            if str(catalog_uuid) not in done.unavailable:
                report = refresh.refresh_keys(
                    asked.values(),
                    catalog_uuid=catalog_uuid,
                    source=refresh.configured_source(),
                    now=clock(),
                    trigger=RefreshTrigger.CRON,
                )
                rejected = {one.key: (one.reason, one.detail) for one in report.unparsable}
                reasons |= {key: rejected[other] for key, other in asked.items() if other in rejected}
        except ContentUnavailable as error:
            done.unavailable[str(catalog_uuid)] = str(error)
        if why := done.unavailable.get(str(catalog_uuid)):
            reasons |= dict.fromkeys(asked, (ContentUnavailable.reason, why))
    return reasons
