"""Wake-ups over a broker, as Celery's messages. They are empty; a lost or repeated one does no harm.

A worker that gets a message claims whatever is due. So a process waits for an unavailable broker for two
seconds at most, and then sends nothing for a while: the next message of beat, or of the scheduled task
`sweep`, wakes a worker for the work. A queue with enough messages gets no more, so that it stays short if no
worker runs (decision 0017). Needs the extra `celery`.
"""

import logging
import threading
from collections.abc import Mapping
from datetime import timedelta

import stamina
from celery import current_app
from django.conf import settings
from kombu import pools
from kombu.exceptions import KombuError

from bursary.lib import logs
from bursary.lib.breaker import Breaker, BreakerOpen, BreakerState

logger = logging.getLogger(__name__)

DELIVER = "bursary.deliver"
"""The message upon which a worker carries out due actions."""
TICK = "bursary.tick"
"""The message upon which a worker runs due scheduled tasks."""
QUEUES: Mapping[str, str] = {DELIVER: "bursary", TICK: "bursary-clock"}
"""The queue of each message: separate, so that many of one kind never delay the other."""
MAX_WAITING = 20  # messages in a queue
PAUSE = timedelta(seconds=10)  # after a failure, in which nothing is sent
ATTEMPTS = 2  # a kept connection may have ended with the broker's restart
# Seconds. Each client knows some of these, and passes over the others.
_BOUNDS = {
    "max_retries": 0,
    "socket_connect_timeout": 1,  # Redis
    "socket_timeout": 1,
    "read_timeout": 1,  # RabbitMQ
    "write_timeout": 1,
}


class Broker:
    """How this process reaches the broker; shared by its threads."""

    def __init__(self) -> None:
        self.unsent = 0
        """Messages that could not be sent since this process started."""
        self._counting = threading.Lock()
        # Without jitter: a request waits for a broker that is away once in `PAUSE`, not more often.
        self._breaker = Breaker(failures=1, cool_down=PAUSE, jitter=False)

    @property
    def reachable(self) -> bool:
        """Whether the last attempt succeeded."""
        return self._breaker.state is BreakerState.CLOSED

    def send(self, message: str, *, count: int = 1) -> None:
        """Send up to `count` messages; with 0, only check that the broker answers. Raises nothing.

        An outage is logged once, when it begins.
        """
        try:
            ticket = self._breaker.enter()
        except BreakerOpen:
            self._add_unsent(count)
            return
        try:
            _publish(message, count=count)
        except Exception as error:  # noqa: BLE001  # whatever the client raises: no request fails for a wake-up
            self._add_unsent(count)
            line = logs.one_line(error).rstrip(".")
            if self._breaker.failed(ticket, because=line):
                waits = "until the broker is back" if settings.CLOCK == "celery" else "for the sweep"
                logger.warning("The broker takes no wake-ups: %s. Work waits %s.", line, waits)
        else:
            if self._breaker.succeeded(ticket):
                logger.warning("The broker takes wake-ups again; %d could not be sent.", self.unsent)

    def _add_unsent(self, count: int) -> None:
        with self._counting:
            self.unsent += count


BROKER = Broker()


def _publish(message: str, *, count: int) -> None:
    """Send `count` messages, or fewer where that fills the queue up to `MAX_WAITING`.

    Raises what the broker's client raises, at the latest after `ATTEMPTS` times a second or so.
    """
    connection = current_app.connection_for_write(
        settings.BROKER_URL, connect_timeout=1, transport_options=dict(_BOUNDS)
    )
    lost = (KombuError, OSError, *connection.recoverable_connection_errors)
    for attempt in stamina.retry_context(
        on=lost, attempts=ATTEMPTS, timeout=None, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0
    ):
        # Left by an error, a producer is replaced by one with a new connection.
        with attempt, pools.producers[connection].acquire(block=True, timeout=1) as producer:
            queue = current_app.amqp.queues[QUEUES[message]].bind(producer.channel)
            waiting = queue.queue_declare().message_count
            for _number in range(min(count, MAX_WAITING - waiting)):
                current_app.send_task(message, queue=QUEUES[message], producer=producer, retry=False)
