"""Entries of the Open edX event bus, decoded by its own schemas. Needs the extra `openedx`.

An entry is a CloudEvent: headers, and `event_data` in Avro. Redis validates nothing, so an entry may have any
bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from opaque_keys.edx.locator import LibraryLocator
from openedx_events.content_authoring.signals import (
    COURSE_CATALOG_INFO_CHANGED,
    COURSE_CREATED,
    COURSE_IMPORT_COMPLETED,
    COURSE_RERUN_COMPLETED,
)
from openedx_events.enterprise.signals import LEDGER_TRANSACTION_REVERSED
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data

from bursary.events.models import EventKind
from bursary.lib import logs

TOPICS = (
    "course-catalog-info-changed",
    "course-created",
    "course-rerun-completed",
    "course-import-completed",
    "enterprise-subsidies-transaction-lifecycle",
)
"""Open edX has no default names for the topics in the middle: an operator sets them in Studio's settings. The
type of an entry decides its kind, not its topic."""
LARGEST_DATA = 1024 * 1024  # bytes: a thousand times what such an event has

EntryFields = Mapping[bytes, bytes]


class UnreadableEvent(Exception):
    """The entry is not an event of the bus, or not of its declared type."""


@dataclass(frozen=True)
class ParsedEvent:
    """The id and kind of an event, and the part of its data that handlers use."""

    event_id: str
    kind: EventKind
    payload: Mapping[str, object]


def parse(fields: EntryFields) -> ParsedEvent | None:
    """Return the event of an entry; None for types that are not handled here. Raises UnreadableEvent."""
    event_type = fields.get(b"type", b"").decode("utf-8", "replace")
    if not event_type:
        raise UnreadableEvent("It has no type.")
    if event_type not in _READ:
        return None
    signal, kind, payload_of = _READ[event_type]
    data = fields.get(b"event_data", b"")
    if len(data) > LARGEST_DATA:
        raise UnreadableEvent(f"Its data has {len(data)} bytes.")
    try:
        event_id = str(UUID(fields[b"id"].decode()))
        payload = payload_of(deserialize_bytes_to_event_data(data, signal))
    except Exception as error:  # the decoder raises anything for arbitrary bytes
        raise UnreadableEvent(logs.one_line(error)) from error
    return ParsedEvent(event_id, kind, payload)


def _course_authored(data: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the run's key, and its course's by convention, because the replica may not have a new run yet.

    A library, which Studio imports as well, is not content: only its own key is returned.
    """
    run = data["course"].course_key
    course = [] if isinstance(run, LibraryLocator) else [f"{run.org}+{run.course}"]
    return {"content_keys": [str(run), *course]}


_Payload = Callable[[Mapping[str, Any]], Mapping[str, object]]

_AUTHORED = (COURSE_CREATED, COURSE_RERUN_COMPLETED, COURSE_IMPORT_COMPLETED)
_READ: Mapping[str, tuple[Any, EventKind, _Payload]] = {
    **{signal.event_type: (signal, EventKind.CONTENT_CHANGED, _course_authored) for signal in _AUTHORED},
    COURSE_CATALOG_INFO_CHANGED.event_type: (
        COURSE_CATALOG_INFO_CHANGED,
        EventKind.CONTENT_CHANGED,
        lambda data: {"content_keys": [str(data["catalog_info"].course_key)]},
    ),
    LEDGER_TRANSACTION_REVERSED.event_type: (
        LEDGER_TRANSACTION_REVERSED,
        EventKind.TRANSACTION_REVERSED,
        lambda data: {"transaction_uuid": str(UUID(str(data["ledger_transaction"].uuid)))},
    ),
}
