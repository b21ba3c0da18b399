"""A record that is served again is not parsed again, and what is stored is what a merge would store."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from bursary.catalog import parser
from bursary.catalog.records import Content
from bursary.replica import ingest, unchanged
from bursary.replica.merge import FetchContext
from bursary.replica.models import (
    CatalogMembership,
    ContentChange,
    ContentMetadata,
    FormerContentKey,
    RefreshTrigger,
)
from tests.once import undone
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    Record,
    a_course,
    a_run,
    a_thin_course,
)
from tests.replica.replicated import HOUR, announcements, bring_in, row

pytestmark = pytest.mark.django_db

LINKED = {"enrollment_url": "https://courses.example/acme-corp/enroll"}
Step = Callable[[], object]


def served(*records: object, hours: float, by: UUID = CATALOG) -> Step:
    context = FetchContext(by, f"listing:{by}", NOW + hours * HOUR, RefreshTrigger.CRON)
    return lambda: ingest.ingest(records, context=context)


def of_run(**changes: object) -> Record:
    course = deepcopy(a_course())
    course["course_runs"][0] |= changes
    return course


def starting_soon() -> Record:
    """Return the course with a run that starts in two days, and is not the one that is advertised."""
    course = deepcopy(a_course())
    course["normalized_metadata_by_run"][RUNS[1]]["start_date"] = (NOW + 48 * HOUR).isoformat()
    return course


def without_a_run() -> Record:
    course = deepcopy(a_course())
    del course["course_runs"][0]
    return course


def priced(price: object) -> Record:
    """Return the course with a price of one run, which it lists for itself."""
    course = deepcopy(a_course())
    for run in course["course_runs"]:
        course["normalized_metadata_by_run"].pop(run["key"], None)
    course["course_runs"][0]["fixed_price_usd"] = price
    return course


def written(**columns: Any) -> Step:
    """Return what writes to the course's row as a release that does not know digests does."""
    return lambda: ContentMetadata.objects.filter(content_key=COURSE).update(**columns)


def membership_of(key: str, **columns: Any) -> Step:
    def write() -> None:
        rows = CatalogMembership.objects.filter(catalog_uuid=CATALOG, content__content_key=key)
        rows.update(**columns) if columns else rows.delete()

    return write


FIRST, AGAIN = served(a_course(), hours=0), served(a_course(), hours=9)
SEQUENCES: dict[str, Sequence[Step]] = {
    "served again": [FIRST, AGAIN],
    "a run that starts soon": [served(starting_soon(), hours=0), served(starting_soon(), hours=9)],
    "again to another catalog": [FIRST, served(a_course(), hours=1, by=OTHER_CATALOG), AGAIN],
    "first listed for a run's own record": [served(a_run(), hours=0), FIRST, AGAIN],
    "a modified time that moved": [FIRST, served(a_course(synced=LATER), hours=9)],
    "a modified time that is older": [FIRST, served(a_course(synced=BEFORE), hours=9)],
    "a modified time that is none": [FIRST, served(a_course(synced="soon"), hours=9)],
    "`active`, which no digest of content counts": [FIRST, served(a_course(active=False), hours=9)],
    "a link": [FIRST, served(a_course(**LINKED), hours=9)],
    "a link of a run": [FIRST, served(of_run(**LINKED), hours=9), AGAIN],
    "a link that is no longer there": [served(a_course(**LINKED), hours=0), AGAIN],
    "a number of enrolments": [FIRST, served(a_course(enrollment_count=7), hours=9)],
    "a field that is read nowhere": [FIRST, served(a_course(prerequisites=["More"]), hours=9)],
    "a run's status": [FIRST, served(of_run(status="archived"), hours=9), served(a_course(), hours=10)],
    "a run that is gone and back": [FIRST, served(without_a_run(), hours=1), AGAIN],
    "no price, then one that is none": [
        served(priced(None), hours=0),
        served(priced(float("nan")), hours=9),
        served(priced(float("inf")), hours=10),
    ],
    "a summary between": [FIRST, served(a_thin_course(), hours=1), AGAIN],
    "a run's own record beside it": [FIRST, served(a_course(), a_run(), hours=1), AGAIN],
    "two records under one key": [FIRST, served(a_course(), a_course(title="Another"), hours=9)],
    "another key for its uuid": [FIRST, served(a_course(), a_course(key="GlobeX+C900"), hours=9)],
    "another key": [FIRST, served(a_course(key="GlobeX+C900"), hours=1), AGAIN],
    "another catalog changed it": [
        FIRST,
        served(a_course(title="Theirs"), hours=1, by=OTHER_CATALOG),
        AGAIN,
    ],
    "another catalog's run changed it": [
        FIRST,
        served(of_run(status="archived"), hours=1, by=OTHER_CATALOG),
        AGAIN,
    ],
    "a restricted run was in it": [FIRST, served(of_run(restriction_type="custom"), hours=1), AGAIN],
    "a later fetch has seen it": [FIRST, served(a_course(), hours=12), AGAIN],
    "a lookup has missed it": [FIRST, membership_of(COURSE, missing_since=NOW + HOUR), AGAIN],
    "a later lookup has missed it": [FIRST, membership_of(COURSE, missing_since=NOW + 12 * HOUR), AGAIN],
    "it was gone": [FIRST, membership_of(COURSE), written(gone_at=NOW + HOUR), AGAIN],
    "the catalog does not hold a run": [FIRST, membership_of(RUNS[0]), AGAIN],
    "a run is held for another course": [FIRST, membership_of(RUNS[0], via_course="GlobeX+C900"), AGAIN],
    "it is held as a run": [FIRST, membership_of(COURSE, via_course="GlobeX+C900"), AGAIN],
    "it is held with a run that it does not name": [
        FIRST,
        served(
            a_course(key="GlobeX+C900", uuid=None, course_runs=[{"key": "course-v1:GlobeX+C900+1"}]), hours=1
        ),
        membership_of("course-v1:GlobeX+C900+1", via_course=COURSE),
        AGAIN,
    ],
    "it was in quarantine": [
        FIRST,
        written(quarantined_digest="f" * 64, last_error="not_storable: …", failures=2),
        AGAIN,
    ],
    "a change was announced before": [
        FIRST,
        written(change_announced_at=NOW + HOUR, due_at=NOW + HOUR),
        AGAIN,
    ],
    "a change was announced after": [FIRST, written(change_announced_at=NOW + 10 * HOUR, due_at=NOW), AGAIN],
    "it was requested after": [FIRST, written(due_at=NOW + 10 * HOUR), AGAIN],
    "a worker has it": [FIRST, written(due_at=NOW + 10 * HOUR, lease_until=NOW + 10 * HOUR, fence=1), AGAIN],
    "a worker's lease has ended": [FIRST, written(due_at=NOW, lease_until=NOW + HOUR, fence=1), AGAIN],
    "another release merged it": [FIRST, written(title="By its rules", checked_at=NOW + HOUR), AGAIN],
}


RECOGNISED = {
    "served again",
    "a run that starts soon",
    "again to another catalog",
    "first listed for a run's own record",
    "a modified time that moved",
    "a modified time that is none",
    "a number of enrolments",
    "a summary between",
    "a lookup has missed it",
    "a later lookup has missed it",
    "it was in quarantine",
    "a change was announced before",
    "a change was announced after",
    "it was requested after",
    "a worker has it",
    "a worker's lease has ended",
}
# What is recognised is decided in Python, by rows that each engine reads alike. What is not is merged, as on
# each in test_merge.py and test_refresh.py. So servers are asked for one sequence of each kind of row that is
# recognised: as it was, with runs that become due, of another catalog, missed, in quarantine, and claimed.
ON_SERVERS = (
    "served again",
    "a run that starts soon",
    "again to another catalog",
    "a lookup has missed it",
    "it was in quarantine",
    "a worker has it",
)
ASKED = SEQUENCES if connection.vendor == "sqlite" else {name: SEQUENCES[name] for name in ON_SERVERS}


def stored() -> list[list[dict[str, Any]]]:
    """Return all that a refresh writes, but for the digests by which it knows a repetition; keys for ids."""
    keys = dict(ContentMetadata.objects.values_list("pk", "content_key"))
    apart = ("id", "served_digest", "served_digest_at")
    found: list[list[dict[str, Any]]] = []
    for model in (ContentMetadata, CatalogMembership, ContentChange, FormerContentKey):
        rows: list[dict[str, Any]] = [dict(row) for row in model._default_manager.values()]
        kept = [{name: row[name] for name in row if name not in apart} for row in rows]
        found.append(
            sorted((row | {"content_id": keys.get(row.get("content_id", 0))} for row in kept), key=repr)
        )
    return found


def begun_alike() -> Iterator[tuple[str, Sequence[Step]]]:
    """Yield each sequence without its first step, which is done: once for all that begin with it."""
    for first in dict.fromkeys(steps[0] for steps in ASKED.values()):
        with undone():
            first()
            yield from ((name, rest) for name, (begin, *rest) in ASKED.items() if begin is first)


def outcome(steps: Sequence[Step]) -> list[object]:
    """Return the reports, the announcements and the rows of steps, of which nothing is kept."""
    with undone(), announcements() as announced:
        reports = [step() for step in steps]
        return [reports, [len(one["pks"]) for one in announced], stored()]


@pytest.fixture
def _in_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches be written within a transaction, so that they can be undone."""
    for module in (ingest, unchanged):
        monkeypatch.setattr(module, "in_transaction", lambda work: work())


@pytest.mark.usefixtures("_in_a_transaction")
def test_it_leaves_what_a_merge_leaves(subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[object] = []
    parse = parser.parse

    def counted(raw: object) -> Content:
        parsed.append(raw)
        return parse(raw)

    monkeypatch.setattr(parser, "parse", counted)
    recognised: dict[str, list[object]] = {}
    for name, steps in begun_alike():
        with subtests.test(name):
            recognised[name] = outcome([*steps[:-1], parsed.clear, steps[-1]])
            assert (name in RECOGNISED) == (not parsed)

    monkeypatch.setattr(unchanged, "_confirm", lambda served, *, context: {})
    for name, steps in begun_alike():
        with subtests.test(name):
            assert recognised[name] == outcome([*steps[:-1], parsed.clear, steps[-1]])


def test_what_another_release_would_read_otherwise_is_merged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(a_course())
    written(title="As the other release reads it")()
    bring_in(a_course(), now=NOW + HOUR)
    assert row().title == "As the other release reads it"

    monkeypatch.setattr(unchanged, "code_digest", lambda: "other code")
    bring_in(a_course(), now=NOW + 2 * HOUR)

    assert row().title == a_course()["title"]


def test_rules_differ_where_the_code_that_reads_records_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "parser.py").write_text("MAX_YEAR = 9998", encoding="utf-8")
    found = {unchanged.code_digest()}
    monkeypatch.setattr(unchanged, "_READERS", (tmp_path,))
    for code in ("MAX_YEAR = 9998", "MAX_YEAR = 9999"):
        (tmp_path / "parser.py").write_text(code, encoding="utf-8")
        unchanged.code_digest.cache_clear()
        found.add(unchanged.code_digest())
    unchanged.code_digest.cache_clear()

    assert len(found) == 3
