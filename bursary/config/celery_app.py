"""Celery: its app, its two tasks, and what beat sends. The truth is in the tables (decision 0017).

Celery stays on its defaults but where a comment gives a reason. Loaded where `BURSARY_EXECUTOR=celery`;
`bursary worker` and `bursary beat` start it (`ops/celery_processes.py`).
"""

import logging
from collections.abc import Callable

from celery import Celery, signals
from celery.beat import ScheduleEntry, Scheduler
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from bursary.delivery import broker, executors
from bursary.lib import outages
from bursary.ops import scheduler

logger = logging.getLogger(__name__)

ROUND_SECONDS = 5.0  # of deliveries upon one message: a worker that is stopped ends no later than its round
SWEEP_SECONDS = 5.0  # between two of beat's messages of a kind, as long as idle threads wait


class WakeUps(Scheduler):
    """Beat's clock, which keeps nothing on disk: a message more or less is harmless.

    It sends through `broker`, and so an outage is bounded and logged once.
    """

    producer = None  # the parent's would try for minutes to connect

    def apply_entry(self, entry: ScheduleEntry, producer: object = None) -> None:
        """Send the entry's message."""
        broker.BROKER.send(entry.task)


# Without Celery's fix-ups for Django, which put the current folder first on Python's path.
app = Celery("bursary", fixups=[])
app.conf.update(
    broker_url=settings.BROKER_URL,
    # Names of their own, on a broker that other services use, too.
    task_default_queue=broker.QUEUES[broker.DELIVER],
    task_routes={message: {"queue": queue} for message, queue in broker.QUEUES.items()},
    task_ignore_result=True,
    result_expires=None,  # there are none to clean up
    # A broker that is away is waited for, however long.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Else it warns of the default at each loss. Messages are acknowledged early: there is nothing to cancel.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    beat_scheduler=WakeUps,
    beat_schedule={
        message: {"task": message, "schedule": SWEEP_SECONDS}
        for message in broker.QUEUES
        if message != broker.TICK or settings.CLOCK == "celery"
    },
)
app.set_default()  # the one that `celery.current_app` returns in every thread


LOSSES = "celery.worker.consumer.consumer"
CONNECTIONS = "celery.worker.consumer.connection"


class OutageOnce(logging.Filter):
    """Of what a worker logs of its broker, lets through the first loss, in one line, and the recovery.

    Celery has no setting for that: it logs two lines at each try, and of a recovery only at INFO.
    """

    away = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if record.name == CONNECTIONS:
            was_away, self.away = self.away, False
            if was_away:
                record.levelno, record.levelname = logging.WARNING, "WARNING"
            return was_away or logger.isEnabledFor(record.levelno)
        message = record.getMessage()
        if "Connection to broker lost" not in message and "Cannot connect to" not in message:
            return True
        was_away, self.away = self.away, True
        record.msg, record.args, record.exc_info = " ".join(message.split()), (), None
        return not was_away


@signals.setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _keep_logging(**_more: object) -> None:
    """Leave the loggers as the settings have them, as Celery does with a receiver; log an outage twice."""
    outage = OutageOnce()
    for name in (LOSSES, CONNECTIONS):
        logging.getLogger(name).addFilter(outage)
    logging.getLogger(CONNECTIONS).setLevel(logging.INFO)  # the only word of a recovery


def deliver() -> None:
    """Carry out due work for a while; where some is left, send a message for the rest."""
    if executors.carry_out(seconds=ROUND_SECONDS):
        executors.wake()


def tick() -> None:
    """Run the scheduled tasks that are due."""
    scheduler.run_due(clock=timezone.now)


def _surviving(work: Callable[[], None], *, failure: str) -> Callable[[], None]:
    """Return a task that logs an error, such as a database that is away, as a runner's thread does.

    Celery would log the whole message, which may name people.
    """

    def run() -> None:
        close_old_connections()
        with outages.errors_logged(failure, log=logger):
            work()

    return run


app.task(_surviving(deliver, failure="A round of deliveries failed"), name=broker.DELIVER)
app.task(_surviving(tick, failure="Running due tasks failed"), name=broker.TICK)
