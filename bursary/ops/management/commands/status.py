"""`bursary status`: one screen about the service's work."""

from typing import Any

from django.utils import timezone

from bursary.delivery import executors
from bursary.ops import status_report
from bursary.ops.console import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Print what was done in the last 24 hours, what waits, what failed and why, and the scheduled tasks. "
        "Times are in UTC."
    )

    def run(self, **_options: Any) -> None:
        executors.probe()
        report = status_report.load(now=timezone.now())
        self.answer(status_report.summary(report), self.rendered(status_report.render(report)))
