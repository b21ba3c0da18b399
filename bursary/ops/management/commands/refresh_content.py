"""`bursary refresh_content`: refresh the content replica."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops import refresh_runs
from bursary.ops.console import OperatorCommand, counted_in_words, progress
from bursary.ops.refresh_runs import CatalogRefresh
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata
from bursary.replica.refresh import RefreshReport


class Command(OperatorCommand):
    help = "Refresh the content replica from the catalog at BURSARY_CATALOG_URL."
    dry_run_help = "Report what would change and change nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--all", action="store_true", help="Refresh the catalogs of all budgets; the default."
        )
        what.add_argument("--stale", action="store_true", help="Refresh only what is due.")
        what.add_argument(
            "--key", action="append", metavar="KEY", help="Refresh only this content; may be repeated."
        )
        parser.add_argument(
            "--catalog",
            type=UUID,
            action="append",
            metavar="UUID",
            help="Refresh only this catalog; may be repeated.",
        )
        parser.add_argument(
            "--accept-drop",
            action="store_true",
            help="Accept a listing that lacks more than a fifth of a catalog.",
        )
        parser.add_argument(
            "--anew", action="store_true", help="Do not resume an interrupted listing: read all of it."
        )

    def run(self, **options: Any) -> None:
        if options["stale"]:
            if options["catalog"] or options["accept_drop"] or options["anew"]:
                raise CommandError(
                    "What is due is due in every catalog: --stale goes without --catalog, --accept-drop "
                    "and --anew.",
                    returncode=2,
                )
            self._refresh_due_rows(options)
        else:
            self._refresh_catalogs(options)

    def _refresh_due_rows(self, options: dict[str, Any]) -> None:
        waiting = refresh_runs.count_due_rows(now=timezone.now())
        report = RefreshReport()
        if not options["dry_run"]:
            with progress("Refreshing", total=waiting) as on_progress:
                report = refresh_runs.refresh_due_rows(clock=timezone.now, on_progress=on_progress)
        left = refresh_runs.count_due_rows(now=timezone.now())
        alarms = refresh_runs.current_alarms()
        summary = {
            "dry_run": options["dry_run"],
            "were_due": waiting,
            "still_due": left,
            "alarms": alarms,
            "due": report.summary(),
        }
        self.answer(summary, f"{waiting} due. {_counts(report)}")
        self._warn(report)
        if report.postponed:
            alarms.append(f"{report.postponed} could not be refreshed and will be tried again.")
        if alarms:
            raise CommandError(" ".join(alarms))

    def _refresh_catalogs(self, options: dict[str, Any]) -> None:
        catalogs = options["catalog"] or refresh_runs.budgets_catalogs()
        dry_run, keys = options["dry_run"], options["key"] or ()
        with progress("Refreshing") as on_progress:
            if keys:
                done = refresh_runs.refresh_keys(keys, catalogs=catalogs, now=timezone.now(), dry_run=dry_run)
            else:
                done = refresh_runs.refresh_catalogs(
                    catalogs,
                    clock=timezone.now,
                    dry_run=dry_run,
                    on_progress=on_progress,
                    accept_drop=options["accept_drop"],
                    resume=not options["anew"],
                )
        unknown = refresh_runs.unknown_keys(keys, done=done)
        summary: dict[str, Any] = {"dry_run": dry_run, "catalogs": [one.summary() for one in done]}
        text = _text(done, keys=keys, unknown=unknown)
        if text or self.as_json:
            self.answer(summary | ({"unknown": unknown} if keys else {}), text)
        for one in done:
            self._warn(one.report)
        if failures := " ".join(one.failure for one in done if one.failure):
            raise CommandError(f"{failures} {_advice(done)}")
        # A dry run stores nothing, so a key that a catalog has may still be unknown after it.
        if unknown and not (dry_run and any(one.report.records for one in done)):
            raise CommandError(f"No catalog has {', '.join(unknown)}.")

    def _warn(self, report: RefreshReport) -> None:
        if total := report.unparsable_total:
            first = "; ".join(f"{bad.key or '(no key)'}: {bad.reason}" for bad in report.unparsable[:5])
            self.stderr.write(f"Warning: could not use {counted_in_words(total, 'record')}, such as {first}.")


def _advice(done: Sequence[CatalogRefresh]) -> str:
    """Return the sentences on what became of the content, and what to do."""
    is_loaded, is_file = ContentMetadata.objects.exists(), refresh.upstream_state() is None
    sentences = ["Content stays as it was." if is_loaded else "There is no content yet."]
    if is_file and any(one.unavailable for one in done):
        sentences.append("Put the file there, readable, then run this again.")
    else:
        sentences.append("Try again later.")
    if any(one.report.alarm for one in done):
        sentences.append("If so much really has gone: --accept-drop.")
    return " ".join(sentences)


def _text(done: Sequence[CatalogRefresh], *, keys: Sequence[str], unknown: Sequence[str]) -> str:
    if not done:
        return "No budget names a catalog: there is nothing to refresh."
    # If no record was read, or only unknown keys were requested, the error message is enough.
    all_unknown = bool(keys) and set(keys) == set(unknown)
    counted = [one for one in done if one.report.records or not (one.unavailable or all_unknown)]
    return "\n".join(
        f"Catalog {one.catalog_uuid}: {counted_in_words(one.report.records, 'record')}; {_counts(one.report)}"
        for one in counted
    )


def _counts(report: RefreshReport) -> str:
    more = {
        "read before it was interrupted (--anew reads them again)": report.passed_over,
        "still unusable": report.quarantined,
        "not there when asked for": report.missing,
        "removed from the catalog": report.ended,
        "postponed": report.postponed,
    }
    extra = "".join(f", {count} {word}" for word, count in more.items() if count)
    return f"{report.created} new, {report.changed} changed, {report.unchanged} as before{extra}."
