"""The Open edX event bus on Redis Streams: every entry is stored in the inbox, then acknowledged.

Needs the extra `openedx`. In this order no entry is lost if either side crashes: Redis repeats unacknowledged
entries to the consumer of the same name, and an entry that comes twice is stored once.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import DataError, Error, close_old_connections
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

from bursary.events import inbox, parsing
from bursary.events.models import LONGEST_ID, EventSource
from bursary.events.parsing import TOPICS, EntryFields
from bursary.lib import logs, retries

logger = logging.getLogger(__name__)

WAIT_MS = 1000  # for new entries; a stopped consumer ends within this time
ANSWER_SECONDS = 10.0  # after which Redis counts as unavailable
MAX_AT_ONCE = 100  # entries of each stream
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=0.5), timedelta(seconds=10)
PATIENCE_SECONDS = 60.0

StreamEntry = tuple[str, bytes, EntryFields]
"""The stream, the entry's id there, and its fields, empty if the stream was trimmed meanwhile."""


class BusLost(Exception):
    """The bus or the database is unavailable for too long. The process ends, so that its supervisor acts."""


@dataclass
class Consumer:
    """Reads all topics as one member of a consumer group, one entry after the other."""

    name: str
    group: str
    prefix: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    """The numbers of entries that were received, known, ignored, unreadable or trimmed."""

    @property
    def streams(self) -> list[str]:
        return [f"{self.prefix}-{topic}" if self.prefix else topic for topic in TOPICS]

    def consume(
        self, stop: threading.Event, *, once: bool = False, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Store entries until `stop` is set; with `once`, until none is left.

        Raises BusLost if Redis or the database is unavailable for more than `patience` seconds.
        """
        failures, healthy = 0, time.monotonic()
        while not stop.is_set():
            try:
                for _ in self._rounds(stop, once=once):
                    failures, healthy = 0, time.monotonic()
                return
            except (redis.RedisError, Error) as error:
                away = time.monotonic() - healthy
                line = logs.one_line(error)
                logger.warning("The event bus cannot be read: %s", line)
                if away > patience:
                    raise BusLost(f"For {away:.0f} seconds: {line}") from error
            close_old_connections()
            failures += 1
            pause = retries.back_off_ceiling(failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
            stop.wait(pause.total_seconds())

    def _rounds(self, stop: threading.Event, *, once: bool) -> Iterator[None]:
        """Join the group; then yield after each batch of entries that is stored."""
        connected = redis.Redis.from_url(
            settings.EVENT_BUS_URL,
            protocol=2,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS + WAIT_MS / 1000,
            # The client's own retries would hide an outage, and wait without a limit.
            retry=Retry(NoBackoff(), 0),
        )
        with connected as client:
            self._join(client)
            # First the entries that this consumer read earlier and did not acknowledge, then new ones.
            while entries := self._read(client, start="0"):
                self._keep_all(client, entries)
                yield
            while not stop.is_set():
                close_old_connections()
                entries = self._read(client, start=">", wait=None if once else WAIT_MS)
                self._keep_all(client, entries)
                yield
                if once and not entries:
                    return

    def _join(self, client: Any) -> None:
        """Create missing streams and groups. A new group begins with the oldest entry of the stream."""
        for stream in self.streams:
            try:
                client.xgroup_create(stream, self.group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def _read(self, client: Any, *, start: str, wait: int | None = None) -> list[StreamEntry]:
        streams = dict.fromkeys(self.streams, start)
        found = client.xreadgroup(self.group, self.name, streams, count=MAX_AT_ONCE, block=wait)
        return [
            (stream.decode(), entry_id, fields or {})
            for stream, entries in found
            for entry_id, fields in entries
        ]

    def _keep_all(self, client: Any, entries: list[StreamEntry]) -> None:
        for stream, entry_id, fields in entries:
            self.counts[_keep(stream, entry_id, fields, now=timezone.now())] += 1
            client.xack(stream, self.group, entry_id)


def configured(*, name: str = "") -> Consumer:
    """Return a consumer by the settings, with another name if one is given."""
    return Consumer(
        name=name or settings.EVENT_CONSUMER, group=settings.EVENT_GROUP, prefix=settings.EVENT_BUS_PREFIX
    )


def _keep(stream: str, entry_id: bytes, fields: Mapping[bytes, bytes], *, now: datetime) -> str:
    """Store one entry; return the name of its count. After a database error it is not acknowledged."""
    if not fields:
        return "trimmed"
    try:
        event = parsing.parse(fields)
        if event is None:
            return "ignored"
        new = inbox.receive(
            event.event_id, source=EventSource.BUS, kind=event.kind, payload=event.payload, now=now
        )
    except (parsing.UnreadableEvent, DataError) as why:  # DataError: a value that the database cannot store
        address = f"{stream}/{entry_id.decode()}"[-LONGEST_ID:]
        logger.warning("Entry %s of the event bus cannot be read: %s", address, why)
        inbox.set_aside(address, source=EventSource.BUS, error=str(why), now=now)
        return "unreadable"
    return "received" if new else "known"
