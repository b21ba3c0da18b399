"""`bursary status`: print one screen about failed, waiting and finished work."""

from typing import Any

from django.utils import timezone

from bursary.delivery import executors
from bursary.ops import status_report, status_screen
from bursary.ops.console import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Print what failed and why, which scheduled tasks are late or fail, what waits, and what was done in "
        "the last 24 hours. Times are in UTC."
    )

    def run(self, **_options: Any) -> None:
        executors.probe()
        report = status_report.load(now=timezone.now())
        self.answer(status_report.summary(report), self.rendered(status_screen.render(report)))
