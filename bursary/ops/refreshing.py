"""Refreshing the content replica, a catalog at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bursary.budgets.models import Budget
from bursary.ops.printing import Advance
from bursary.replica import refresh
from bursary.replica.models import RefreshSource
from bursary.replica.refresh import ContentUnavailable
from bursary.replica.report import Report


@dataclass(frozen=True)
class Refreshed:
    """What became of one catalog; `unavailable` says why upstream stopped answering, if it did."""

    catalog_uuid: UUID
    report: Report
    unavailable: str = ""

    def summary(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "catalog_uuid": self.catalog_uuid,
            "unavailable": self.unavailable or None,
            **self.report.as_dict(),
        }


def budgets_catalogs() -> list[UUID]:
    """Return the catalogs of all budgets that are not retired."""
    budgets = Budget.objects.filter(retired_at=None).order_by("catalog_uuid")
    return list(budgets.values_list("catalog_uuid", flat=True).distinct())


def refresh_catalogs(
    catalogs: Sequence[UUID], *, now: datetime, dry_run: bool, advance: Advance
) -> list[Refreshed]:
    """Refresh each catalog. One that is unavailable does not stop the others."""
    done: list[Refreshed] = []
    for catalog_uuid in catalogs:
        before = sum(one.report.records for one in done)
        done.append(_refresh(catalog_uuid, now=now, dry_run=dry_run, advance=_after(before, advance)))
    return done


def unavailable(done: Iterable[Refreshed]) -> str:
    """Return a sentence for each catalog that did not answer, or nothing."""
    return " ".join(f"Catalog {one.catalog_uuid}: {one.unavailable}" for one in done if one.unavailable)


def _refresh(catalog_uuid: UUID, *, now: datetime, dry_run: bool, advance: Advance) -> Refreshed:
    try:
        report = refresh.refresh_catalog(
            catalog_uuid,
            source=refresh.configured_source(),
            now=now,
            by=RefreshSource.CRON,
            dry_run=dry_run,
            progress=advance,
        )
    except ContentUnavailable as silent:
        return Refreshed(catalog_uuid, silent.so_far, str(silent))
    return Refreshed(catalog_uuid, report)


def _after(before: int, advance: Advance) -> Advance:
    return lambda records: advance(before + records)
