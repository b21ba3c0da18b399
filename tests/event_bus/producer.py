"""The real producer, as Studio and the ledger's service run it: publishes each line of stdin.

A program of its own, because Bursary has none of its settings: `producer.py URL PREFIX`. Answers `ok`.
"""

import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import django
from django.conf import settings
from opaque_keys.edx.keys import CourseKey
from openedx_events.content_authoring.data import CourseCatalogData, CourseScheduleData
from openedx_events.content_authoring.signals import COURSE_CATALOG_INFO_CHANGED
from openedx_events.enterprise.data import LedgerTransaction
from openedx_events.enterprise.signals import LEDGER_TRANSACTION_COMMITTED, LEDGER_TRANSACTION_REVERSED

CATALOG_INFO_CHANGED = "org.openedx.content_authoring.course.catalog_info.changed.v1"
REVERSED = "org.openedx.enterprise.subsidy_ledger_transaction.reversed.v1"
COMMITTED = "org.openedx.enterprise.subsidy_ledger_transaction.committed.v1"
LIFECYCLE = "enterprise-subsidies-transaction-lifecycle"


def configure(url: str, prefix: str) -> None:
    """Make this process a service that publishes."""
    of_ledger = {LIFECYCLE: {"event_key_field": "ledger_transaction.uuid", "enabled": True}}
    of_course = {"event_key_field": "catalog_info.course_key", "enabled": True}
    settings.configure(
        INSTALLED_APPS=["openedx_events", "edx_event_bus_redis"],
        USE_TZ=True,
        EVENT_BUS_PRODUCER="edx_event_bus_redis.create_producer",
        EVENT_BUS_REDIS_CONNECTION_URL=url,
        EVENT_BUS_TOPIC_PREFIX=prefix,
        EVENTS_SERVICE_NAME="tests",
        EVENT_BUS_PRODUCER_CONFIG={
            CATALOG_INFO_CHANGED: {"course-catalog-info-changed": of_course},
            REVERSED: of_ledger,
            COMMITTED: of_ledger,
        },
    )
    django.setup()


def catalog_info(run: str) -> Any:
    """Return what Studio says of a run that it published."""
    schedule = CourseScheduleData(start=datetime(2027, 1, 4, tzinfo=UTC), pacing="self")
    return CourseCatalogData(course_key=CourseKey.from_string(run), name="Published", schedule_data=schedule)


def ledger_transaction(uuid: str, state: str) -> Any:
    """Return what the ledger says of a transaction."""
    now = datetime.now(UTC)
    return LedgerTransaction(
        uuid=UUID(uuid),
        created=now,
        modified=now,
        idempotency_key="made-up",
        quantity=-19_900,
        state=state,
        ledger_uuid=uuid4(),
        subsidy_access_policy_uuid=uuid4(),
        lms_user_id=4711,
        content_key=CourseKey.from_string("course-v1:RiversideX+T1+2026"),
    )


def publish(what: dict[str, str]) -> None:
    """Send one event."""
    if run := what.get("run"):
        COURSE_CATALOG_INFO_CHANGED.send_event(catalog_info=catalog_info(run))
    if uuid := what.get("reversed"):
        LEDGER_TRANSACTION_REVERSED.send_event(ledger_transaction=ledger_transaction(uuid, "reversed"))
    if uuid := what.get("committed"):
        LEDGER_TRANSACTION_COMMITTED.send_event(ledger_transaction=ledger_transaction(uuid, "committed"))


if __name__ == "__main__":
    configure(*sys.argv[1:])
    for line in sys.stdin:
        publish(json.loads(line))
        sys.stdout.write("ok\n")
        sys.stdout.flush()
