"""`bursary shadow_report`: whether the replica may be switched to."""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db.models import QuerySet
from pytest_django import Settings

from bursary.replica import reads
from bursary.replica.models import CatalogMembership, ContentMetadata, ShadowDifference, ShadowTally
from bursary.replica.types import CatalogKey
from tests.enterprise_catalog.server import Upstream
from tests.replica.reading import a_course, read_over_http, run_of
from tests.world import CATALOG, NOW, given_budget

pytestmark = pytest.mark.django_db(transaction=True)


def given_comparisons(count: int = 100, *, standing: int = 0, healed: int = 0, unrecorded: int = 0) -> None:
    ShadowTally.objects.create(
        catalog_uuid=CATALOG,
        since=NOW,
        last_at=NOW,
        compared=count,
        fields_compared=9 * count,
        unrecorded=unrecorded,
    )
    ShadowDifference.objects.bulk_create(
        ShadowDifference(
            catalog_uuid=CATALOG,
            content_key=f"RiversideX+T{number}",
            field="title",
            upstream_value="Tides",
            replica_value="Tide",
            first_seen=NOW,
            last_seen=NOW,
            healed_at=None if number < standing else NOW,
        )
        for number in range(standing + healed)
    )


def run(*arguments: str, refused: str = "") -> dict[str, Any]:
    out = StringIO()
    if refused:
        with pytest.raises(CommandError, match=refused):
            call_command("shadow_report", "--json", *arguments, stdout=out)
    else:
        call_command("shadow_report", "--json", *arguments, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_zero_of_many_is_good() -> None:
    given_comparisons(100, healed=2)

    answer = run()

    assert (answer["standing"], answer["compared"], answer["healed"]) == (0, 100, 2)


def test_nothing_compared_is_no_zero() -> None:
    assert run(refused="Nothing was compared")["compared"] == 0


def test_what_stands_is_named_and_refused_beyond_the_threshold() -> None:
    given_comparisons(standing=2)

    [first, _second] = run(refused="does not agree")["differences"]
    assert (first["content_key"], first["field"]) == ("RiversideX+T0", "title")
    assert (first["upstream"], first["replica"], first["times"]) == ("Tides", "Tide", 1)
    assert run("--threshold", "2")["standing"] == 2
    run("--threshold", "1", refused="does not agree")


def test_differences_without_room_count_too() -> None:
    given_comparisons(unrecorded=1)

    run(refused="does not agree")


def test_a_report_names_a_hundred_and_counts_all() -> None:
    given_comparisons(standing=150)

    answer = run(refused="does not agree")

    assert (len(answer["differences"]), answer["standing"]) == (100, 150)


def test_a_reset_counts_anew() -> None:
    given_comparisons(standing=2)

    assert run("--reset") == {"reset": True}
    assert not ShadowDifference.objects.exists()
    assert run(refused="Nothing was compared")["since"] is None


def test_the_text_has_a_line_for_each_difference() -> None:
    given_comparisons(standing=1)
    out = StringIO()

    call_command("shadow_report", "--threshold", "5", stdout=out)

    head, line = out.getvalue().splitlines()
    assert head.startswith("1 differences in 100 comparisons of 900 fields")
    assert line.startswith("RiversideX+T0  title: upstream 'Tides', replica 'Tide'")


TIDES, KNOTS = "RiversideX+TIDES", "RiversideX+KNOTS"
HOUR = timedelta(hours=1)


@pytest.fixture
def upstream(settings: Settings) -> Iterator[Upstream]:
    """An upstream of two courses, which the replica follows."""
    given_budget()
    with read_over_http(settings, a_course(TIDES), a_course(KNOTS), mode="shadow") as running:
        refresh_content(hours=0)
        yield running


def refresh_content(*flags: str, hours: int) -> None:
    with time_machine.travel(NOW + hours * HOUR, tick=False):
        call_command("refresh_content", *flags, stdout=StringIO())


def standing(*, hours: int) -> list[tuple[str, str]]:
    """Compare what stands again, and return what does."""
    with time_machine.travel(NOW + hours * HOUR, tick=False), contextlib.suppress(CommandError):
        call_command("shadow_report", "--look-again", stdout=StringIO())
    rows = ShadowDifference.objects.filter(healed_at=None).order_by("content_key", "field")
    return list(rows.values_list("content_key", "field"))


def of(*keys: str) -> QuerySet[ContentMetadata]:
    return ContentMetadata.objects.filter(content_key__in=keys)


def dearer(upstream: Upstream) -> None:
    upstream.database.put(
        a_course(TIDES, title="Ebb", content_price=1.0, end_date=None), catalogs=[str(CATALOG)]
    )


def with_a_restricted_run(upstream: Upstream) -> None:
    course = a_course(TIDES, title="Ebb", content_price=1.0)
    course["course_runs"].append(course["course_runs"][0] | {"key": "x", "restriction_type": "custom"})
    upstream.serve(CATALOG, [course])


def changed_here(_upstream: Upstream) -> None:
    of(TIDES).update(title="Ebb", price_cents=1, enroll_by=None)
    of(run_of(TIDES)).update(parent_key=KNOTS, course_type="audit")


def lost_here(_upstream: Upstream) -> None:
    CatalogMembership.objects.filter(content__in=of(TIDES, run_of(KNOTS))).delete()


@pytest.mark.parametrize("differ", [dearer, with_a_restricted_run, changed_here, lost_here])
def test_what_differs_is_healed_by_a_refresh_of_its_key(
    upstream: Upstream, differ: Callable[[Upstream], None]
) -> None:
    differ(upstream)
    every = {CatalogKey(CATALOG, key): key for key in (TIDES, run_of(TIDES), KNOTS, run_of(KNOTS))}
    reads.from_upstream(every, now=NOW + HOUR)
    found = standing(hours=2)
    assert len(found) >= 2

    keys = {key for key, _field in found}
    refresh_content(*(f"--key={key}" for key in sorted(keys)), hours=3)

    assert standing(hours=4) == []


def test_what_left_the_catalog_is_healed_once_two_refreshes_confirm_it(upstream: Upstream) -> None:
    upstream.remove(TIDES, catalog_uuid=CATALOG)
    reads.from_upstream({CatalogKey(CATALOG, TIDES): TIDES}, now=NOW + HOUR)
    assert standing(hours=2) == [(TIDES, "in_catalog")]

    for hours in (3, 5):
        assert standing(hours=hours) == [(TIDES, "in_catalog")]
        refresh_content(hours=hours)

    assert standing(hours=6) == []
