"""Celery's app, its two tasks, and beat's messages. Only the tables decide what is due (decision 0017).

Celery has its defaults, except where a comment gives a reason. The module is loaded if
`BURSARY_EXECUTOR=celery`; `bursary worker` and `bursary beat` start Celery (`ops/celery_processes.py`).
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

ROUND_SECONDS = 5.0  # of deliveries for one message; a stopped worker ends with its round
BEAT_SECONDS = 5.0  # between two messages of a kind from beat, as long as idle threads wait


class WakeUps(Scheduler):
    """Beat's scheduler, without a file of its state: a missing or additional message does no harm.

    It sends through `broker`, which limits the wait in an outage and logs it once.
    """

    producer = None  # the parent class's would try to connect for minutes

    def apply_entry(self, entry: ScheduleEntry, producer: object = None) -> None:
        """Send the entry's message."""
        broker.BROKER.send(entry.task)


# No fix-ups for Django: they put the current folder first on Python's path.
app = Celery("bursary", fixups=[])
app.conf.update(
    broker_url=settings.BROKER_URL,
    # Own names of queues, because other services may use the same broker.
    task_default_queue=broker.QUEUES[broker.DELIVER],
    task_routes={message: {"queue": queue} for message, queue in broker.QUEUES.items()},
    task_ignore_result=True,
    result_expires=None,  # there are no results to clean up
    # Wait for an unavailable broker without a limit.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Set, because Celery warns of the default at each loss. Messages are acknowledged early, so that there is
    # nothing to cancel.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    beat_scheduler=WakeUps,
    beat_schedule={
        message: {"task": message, "schedule": BEAT_SECONDS}
        for message in broker.QUEUES
        if message != broker.TICK or settings.CLOCK == "celery"
    },
)
app.set_default()  # so that `celery.current_app` returns it in every thread


LOSSES = "celery.worker.consumer.consumer"
CONNECTIONS = "celery.worker.consumer.connection"


class OutageOnce(logging.Filter):
    """Logs one line for the loss of a worker's broker, and one for the recovery.

    Celery has no setting for that: it logs two lines for each attempt, and a recovery only at INFO.
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
    """Keep the settings' loggers: Celery configures its own only without a receiver. Add `OutageOnce`."""
    outage = OutageOnce()
    for name in (LOSSES, CONNECTIONS):
        logging.getLogger(name).addFilter(outage)
    logging.getLogger(CONNECTIONS).setLevel(logging.INFO)  # the level of the only record of a recovery


def deliver() -> None:
    """Carry out due work for `ROUND_SECONDS`; if some is left, send a message for the rest."""
    if executors.carry_out(seconds=ROUND_SECONDS):
        executors.wake()


def tick() -> None:
    """Run the scheduled tasks that are due."""
    scheduler.run_due(clock=timezone.now)


def _surviving(work: Callable[[], None], *, failure: str) -> Callable[[], None]:
    """Return a task that logs errors, such as an unavailable database, as a runner's thread does.

    Celery would log the complete message, which may have personal data.
    """

    def run() -> None:
        close_old_connections()
        with outages.errors_logged(failure, log=logger):
            work()

    return run


app.task(_surviving(deliver, failure="A round of deliveries failed"), name=broker.DELIVER)
app.task(_surviving(tick, failure="Running due tasks failed"), name=broker.TICK)
