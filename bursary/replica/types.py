"""Content as readers see it: a row of the replica, or upstream's answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from bursary.replica.joining import RunTerms
from bursary.replica.models import ContentMetadata


class CatalogKey(NamedTuple):
    """A content key in a catalog."""

    catalog_uuid: UUID
    content_key: str


LookupKeys = Mapping[CatalogKey, str]
"""The content to look up, and the key to ask for: a run that has ended is found by its course alone."""


@dataclass(frozen=True, slots=True)
class UpstreamContent:
    """Content as upstream serves it, its fields named like the columns of `ContentMetadata`.

    `checked_at` is the time of the answer; `runs` are a course's, or the run itself.
    """

    content_key: str
    content_type: str
    parent_content_key: str
    title: str
    course_type: str
    partners: list[dict[str, Any]]
    partner_names: str
    start_date: datetime | None
    end_date: datetime | None
    enroll_by: datetime | None
    price_cents: int | None
    advertised_run: str
    completeness: str
    checked_at: datetime
    runs: tuple[RunTerms, ...]


AnyContent = ContentMetadata | UpstreamContent
"""The content that lists show and allocation reads."""


KnownContent = dict[CatalogKey, UpstreamContent | None]
"""Upstream's answers by key; None: upstream has no such content. A key without an answer is left out."""
