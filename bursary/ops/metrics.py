"""Figures for Prometheus, read from the database on each request, so that any process may answer.

Only the states of the catalog's breaker and of Celery's broker are those of the process that answers. Each
query reads a bounded number of rows or index entries.
"""

from collections.abc import Iterator
from datetime import datetime

from django.db import Error
from django.db.models import Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import executors
from bursary.lib import batches, leases
from bursary.lib.leases import NOT_BEFORE
from bursary.ops import health
from bursary.replica import refresh
from bursary.replica.models import CatalogListing, ContentMetadata

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SAMPLE = 1000
"""Rows in the sample from which the stale share is estimated; with fewer rows, it is exact."""
BREAKER_STATES = ("closed", "open", "half_open")


def exposition(*, now: datetime) -> bytes:
    """Return all figures at `now` in Prometheus' text format. Does not raise if the database is away."""
    registry = CollectorRegistry()
    registry.register(_Figures(now))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield from _of_process()
        try:
            figures = [*_of_content(self._now), *_of_actions(self._now)]
        except Error:
            figures = []
        yield GaugeMetricFamily(
            "bursary_database_up",
            "Whether the database answers; without it there are no other figures.",
            float(bool(figures)),
        )
        yield from figures


def _of_process() -> Iterator[Metric]:
    state = refresh.upstream_state()
    family = GaugeMetricFamily(
        "bursary_upstream_breaker_state",
        "1 for the state of the catalog's breaker, in the process that answers; none for a folder.",
        labels=["state"],
    )
    for name in BREAKER_STATES if state else ():
        family.add_metric([name], float(name == state))
    yield family
    broker = executors.broker()
    if broker is None:
        return
    yield GaugeMetricFamily(
        "bursary_broker_reachable",
        "Whether the broker took the last wake-up of the process that answers.",
        float(broker.reachable),
    )
    yield CounterMetricFamily(
        "bursary_wake_ups_unsent",
        "Wake-ups that the process that answers could not send; the sweep finds their work.",
        broker.unsent,
    )


def _of_content(now: datetime) -> Iterator[Metric]:
    due = ContentMetadata.objects.filter(early=NOT_BEFORE, due_at__lte=now).order_by("due_at")
    oldest = due.values_list("due_at", flat=True).first()
    yield GaugeMetricFamily(
        "bursary_content_oldest_wanted_seconds",
        "How long the content that is due longest has waited for its refresh.",
        (now - oldest).total_seconds() if oldest else 0.0,
    )
    # A random sample, because reading every row with its payload is expensive.
    rows = batches.sample_of_range(ContentMetadata.objects.order_by(), size=SAMPLE).filter(gone_at=None)
    untils = list(rows.values_list("fresh_until", flat=True))
    yield GaugeMetricFamily(
        "bursary_content_stale_ratio",
        f"Share of content that is stale, without what is gone; beyond {SAMPLE} rows that of a sample.",
        sum(until <= now for until in untils) / len(untils) if untils else 0.0,
    )
    quarantined = ContentMetadata.objects.filter(quarantined_digest__gt="").order_by()
    yield GaugeMetricFamily(
        "bursary_content_quarantined",
        f"Content with an unusable newest record, counted up to {health.MAX_COUNTED}.",
        quarantined.values("pk")[: health.MAX_COUNTED].count(),
    )
    contradictions = CatalogListing.objects.aggregate(total=Sum("contradictions", default=0))
    yield CounterMetricFamily(
        "bursary_content_differs_within_variant",
        "Records that differed from another catalog's of the same variant and modified time.",
        contradictions["total"],
    )


def _of_actions(now: datetime) -> Iterator[Metric]:
    found = health.measure(now=now)
    actions = LearnerContentAssignmentAction.objects.all()
    figures = {
        "bursary_actions_due": (
            "Actions that are due",
            leases.count_due(actions, now=now, limit=health.MAX_COUNTED),
        ),
        "bursary_actions_pending": ("Unfinished actions", found.pending),
        "bursary_actions_oldest_due_seconds": (
            "How long the oldest due action has waited",
            found.oldest_due_seconds,
        ),
        "bursary_actions_failed_last_day": (
            "Failed actions of 24 hours, not retried or skipped",
            found.failed_last_day,
        ),
        "bursary_ticks_late": (
            "Scheduled tasks that are late or keep failing",
            len(found.late_ticks or ()),
        ),
        "bursary_mail_server_trouble_seconds": (
            "How long the mail server has been in trouble; 0 while it takes mails",
            found.mail_trouble_seconds,
        ),
        "bursary_work_dated_ahead": (
            "Work and scheduled tasks written by a clock that was ahead",
            found.dated_ahead,
        ),
        "bursary_catalog_alarms": ("Catalogs of which too much is missing", found.catalog_alarms),
    }
    for name, (means, value) in figures.items():
        yield GaugeMetricFamily(name, f"{means}.", value)
