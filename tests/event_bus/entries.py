"""Entries as the bus carries them, by Open edX's own schemas, where a producer of its own would take long."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from opaque_keys.edx.keys import CourseKey
from openedx_events.content_authoring.data import CourseCatalogData, CourseData, CourseScheduleData
from openedx_events.content_authoring.signals import (
    COURSE_CATALOG_INFO_CHANGED,
    COURSE_CREATED,
    COURSE_IMPORT_COMPLETED,
    COURSE_RERUN_COMPLETED,
)
from openedx_events.enterprise.data import LedgerTransaction
from openedx_events.enterprise.signals import LEDGER_TRANSACTION_REVERSED
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

CONTENT, LEDGER = "course-catalog-info-changed", "enterprise-subsidies-transaction-lifecycle"
AUTHORED = {
    "course-created": COURSE_CREATED,
    "course-rerun-completed": COURSE_RERUN_COMPLETED,
    "course-import-completed": COURSE_IMPORT_COMPLETED,
}
"""By topic, what Studio says of a run that was made or filled."""
COURSE, RUN = "RiversideX+T7", "course-v1:RiversideX+T7+2026"
AT = datetime(2026, 3, 1, tzinfo=UTC)
PERSON = 470_011_223_344  # so long that no uuid and no time holds it by chance

Fields = dict[bytes, bytes]


def content_changed(run: str = RUN, *, event_id: str = "") -> Fields:
    """Return the entry that says that a run was published."""
    schedule = CourseScheduleData(start=AT, pacing="self")
    info = CourseCatalogData(
        course_key=CourseKey.from_string(run), name="Tidal Engines", schedule_data=schedule
    )
    return _entry(COURSE_CATALOG_INFO_CHANGED, {"catalog_info": info}, event_id)


def authored(topic: str, run: str = RUN) -> Fields:
    """Return the entry that says that a run was made or filled in Studio, as that topic carries it."""
    return _entry(AUTHORED[topic], {"course": CourseData(course_key=CourseKey.from_string(run))}, "")


def reversed_transaction(uuid: UUID, *, event_id: str = "") -> Fields:
    """Return the entry that says that a transaction was reversed."""
    transaction = LedgerTransaction(
        uuid=uuid,
        created=AT,
        modified=AT,
        idempotency_key="made-up",
        quantity=-19_900,
        state="reversed",
        ledger_uuid=uuid4(),
        subsidy_access_policy_uuid=uuid4(),
        lms_user_id=PERSON,
        content_key=CourseKey.from_string(RUN),
    )
    return _entry(LEDGER_TRANSACTION_REVERSED, {"ledger_transaction": transaction}, event_id)


def _entry(signal: Any, data: dict[str, object], event_id: str) -> Fields:
    return {
        b"id": (event_id or str(uuid4())).encode(),
        b"type": signal.event_type.encode(),
        b"event_data": serialize_event_data_to_bytes(data, signal),
    }
