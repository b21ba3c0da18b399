"""The content of an assignment at its allocation, compared with the catalog's present values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Min, Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.assignments.models import LearnerContentAssignment
from bursary.lib import moments
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.money import dollars
from bursary.replica.models import ContentChange, ContentType

_FIELDS: Mapping[str, Any] = {
    "title": gettext_lazy("Title"),
    "price_cents": gettext_lazy("Price"),
    "start_date": gettext_lazy("Starts"),
    "end_date": gettext_lazy("Ends"),
    "enroll_by": gettext_lazy("Enrolment closes"),
}
_OF_ADVERTISED: Mapping[str, Any] = {
    "start_date": gettext_lazy("Advertised run starts"),
    "end_date": gettext_lazy("Advertised run ends"),
    "enroll_by": gettext_lazy("Enrolment in it closes"),
}
"""A course's dates from its advertised run. They are no limits, as learners can join another run."""


@dataclass(frozen=True)
class ContentRow:
    """A field of the content, in words: at allocation, and now."""

    label: str
    then: str
    now: str

    @property
    def changed(self) -> bool:
        """Whether the catalog's value has changed since."""
        return self.then != self.now


def content_rows(assignment: LearnerContentAssignment) -> list[ContentRow]:
    """Return the fields of the displayed content, except fields that were and are empty. One query.

    The price at allocation is that of the assignment. Another field's value at allocation is the one that its
    first change since replaced; without a change, the present one. A course also has the date that limits its
    deadline.
    """
    shown = assignment.shown_content
    if shown is None:
        return []
    zone = assignment.budget.customer.zone
    now = {name: getattr(shown, name) for name in _FIELDS}
    then = now | _replaced(assignment) | {"price_cents": assignment.price_cents}
    labels = {**_FIELDS, **(_OF_ADVERTISED if is_course(assignment) else {})}
    rows = [
        ContentRow(str(label), _in_words(name, then[name], zone), _in_words(name, now[name], zone))
        for name, label in labels.items()
    ]
    if is_course(assignment) and assignment.content_enroll_by < FAR_FUTURE:
        latest = _in_words("join_by", assignment.content_enroll_by, zone)
        rows.insert(2, ContentRow(_("Join by, in any run"), latest, latest))
    return [row for row in rows if row.changed or row.then != _("unknown")]


def is_course(assignment: LearnerContentAssignment) -> bool:
    """Return whether its displayed content is a course, which learners join by any of its runs."""
    shown = assignment.shown_content
    return shown is not None and shown.content_type == ContentType.COURSE


def _replaced(assignment: LearnerContentAssignment) -> dict[str, object]:
    """Return, for each field, the value that its first change since the allocation replaced."""
    if assignment.content_id is None:
        return {}
    of_catalog = Q(catalog_uuid=None) | Q(catalog_uuid=assignment.budget.catalog_uuid)
    since = ContentChange.objects.filter(
        of_catalog,
        content=assignment.content_id,
        field__in=list(_FIELDS),
        created__gte=assignment.allocated_at,
    )
    first = since.order_by().values("field").annotate(first=Min("pk")).values("first")
    return dict(ContentChange.objects.filter(pk__in=first).values_list("field", "old"))


def _in_words(name: str, value: Any, zone: ZoneInfo) -> str:
    if value is None or value == "":
        return _("unknown")
    if name == "price_cents":
        return dollars(int(value))
    if name == "title":
        return str(value)
    instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moments.dated(instant.astimezone(zone), form="j F Y, H:i")
