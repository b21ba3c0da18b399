"""What can be joined, asked of the replica's rows: the SQL is the rule in Python."""

import itertools
import random
from datetime import datetime, timedelta

import pytest

from bursary.replica import joining
from bursary.replica.joining import JoiningTerms, NotJoinable, RunTerms, joining_terms
from bursary.replica.models import ContentMetadata, ContentType
from tests.replica.listing import OTHER_CATALOG
from tests.world import CATALOG, NOW, given_content, given_run

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
BEFORE = NOW + 90 * DAY
CHANCE = random.Random(1)  # the same courses in every run


def given_courses(count: int) -> None:
    """Make courses of up to three runs, their dates and flags by chance, and one in another catalog."""
    dates: list[datetime | None] = [None, *(NOW + days * DAY for days in (-9, 0, 9, 90, 99))]
    for number in range(count):
        course = given_content(f"ChanceX+{number}", with_run=False)
        for run in range(CHANCE.randrange(4)):
            names = ("start_date", "end_date", "enroll_start", "enroll_by")
            given_run(
                course,
                key=f"course-v1:ChanceX+{number}+R{run}",
                offered=CHANCE.random() < 0.8,
                enrollable=CHANCE.random() < 0.5,
                price_cents=CHANCE.choice([None, 0, 100, 200]),
                **{name: CHANCE.choice(dates) for name in names},
            )
        if CHANCE.random() < 0.5:
            type(course).objects.filter(pk=course.pk).update(advertised_run="")
    given_run(given_content("ElsewhereX+1", catalog=OTHER_CATALOG, with_run=False))


def test_the_courses_and_runs_that_can_be_joined_are_those_of_the_rule_on_its_terms() -> None:
    given_courses(60)
    expected: dict[str, JoiningTerms] = {}
    contents = ContentMetadata.objects.filter(memberships__catalog_uuid=CATALOG)
    runs = joining.runs_of([one.content_key for one in contents], catalogs=[CATALOG])
    for one in contents:
        of_course = runs.get((CATALOG, one.content_key), [])
        own = of_course if one.content_type == ContentType.COURSE else [RunTerms.of(one)]
        try:
            terms = joining_terms(own, advertised=one.advertised_run, now=NOW, must_open_before=BEFORE)
            expected[one.content_key] = terms
        except NotJoinable:
            pass

    found = joining.joinable(catalog_uuid=CATALOG, now=NOW, must_open_before=BEFORE)

    assert {
        one.content_key: JoiningTerms(one.joining_run, one.joining_price, one.join_by) for one in found
    } == expected
    assert 20 < len(expected) < 100


def test_runs_are_a_catalogs_own() -> None:
    course, other = given_content("SharedX+1"), given_content("OtherX+1")
    run = ContentMetadata.objects.get(content_key=course.advertised_run)
    run.memberships.update(catalog_uuid=OTHER_CATALOG)
    program = given_content(
        course.content_key, catalog=OTHER_CATALOG, variant="f" * 64, content_type=ContentType.PROGRAM
    )

    found = joining.runs_of([course.content_key], catalogs=[CATALOG, OTHER_CATALOG])

    assert {key: [one.key for one in runs] for key, runs in found.items()} == {
        (OTHER_CATALOG, "SharedX+1"): [run.content_key]
    }
    assert joining.runs_of([course.content_key], catalogs=[CATALOG]) == {}
    others = {other.content_key, other.advertised_run}
    for catalog, joined in ((CATALOG, others), (OTHER_CATALOG, {run.content_key})):
        rows = joining.joinable(catalog_uuid=catalog, now=NOW, must_open_before=BEFORE)
        assert {one.content_key for one in rows} == joined

    contents, runs = joining.held_content([course.content_key], catalogs=[OTHER_CATALOG])
    assert contents == {(OTHER_CATALOG, program.pk), (OTHER_CATALOG, run.pk)}
    assert runs == {(OTHER_CATALOG, course.content_key): [RunTerms.of(run)]}
    assert joining.held_content([course.content_key], catalogs=[CATALOG]) == ({(CATALOG, course.pk)}, {})
    without_runs = joining.held_content([course.content_key], catalogs=[OTHER_CATALOG], with_runs=False)
    assert without_runs == ({(OTHER_CATALOG, program.pk)}, {})


def test_a_course_costs_what_its_advertised_run_does_or_the_first_to_start() -> None:
    """A run without a date starts last; of two that start alike, the first by key counts."""
    # By the run that counts: the runs' starts in the order of storing, and the advertised one.
    courses: dict[str, tuple[dict[str, datetime | None], str]] = {
        "R1": ({"R0": None, "R1": NOW}, ""),
        "R0": ({"R1": NOW, "R0": NOW}, ""),
        "R2": ({"R1": NOW, "R2": NOW + DAY, "R3": None}, "R2"),
    }
    for counts, (starts, advertised) in courses.items():
        course = given_content(counts, with_run=False)
        for price, (name, start) in enumerate(starts.items()):
            given_run(course, f"{counts}/{name}", start_date=start, price_cents=price)
        advertised_run = advertised and f"{counts}/{advertised}"
        ContentMetadata.objects.filter(pk=course.pk).update(advertised_run=advertised_run)

    found = joining.joinable(catalog_uuid=CATALOG, now=NOW, must_open_before=BEFORE).filter(
        content_key__in=courses
    )

    assert {one.content_key: (one.joining_run, one.joining_price) for one in found} == {
        "R1": ("R1/R1", 1),
        "R0": ("R0/R0", 1),
        "R2": ("R2/R2", 1),
    }


def test_a_change_of_a_run_concerns_its_course_in_every_variant() -> None:
    courses = [given_content("TwiceX+1", variant=variant, with_run=False) for variant in ("", "f" * 64)]
    run = given_content("course-v1:TwiceX+1+R1", content_type=ContentType.COURSERUN, parent=courses[0])
    other = given_content()
    given_content("TwiceX+1", variant="e" * 64, content_type=ContentType.PROGRAM)

    assert set(joining.with_courses([run.pk])) == {run, *courses}
    assert set(joining.with_courses([courses[1].pk, other.pk])) == {courses[1], other}


def test_every_edge_of_the_dates_is_the_same_in_both() -> None:
    edges = [None, NOW, NOW + timedelta(seconds=1), BEFORE, BEFORE - timedelta(seconds=1)]
    for number, (end, opens, closes) in enumerate(itertools.product(edges, repeat=3)):
        given_content(
            f"course-v1:EdgeX+{number}",
            content_type=ContentType.COURSERUN,
            end_date=end,
            enroll_start=opens,
            enroll_by=closes,
        )

    found = joining.joinable(catalog_uuid=CATALOG, now=NOW, must_open_before=BEFORE)

    rows = ContentMetadata.objects.all()
    allowed = {one.pk for one in rows if RunTerms.of(one).refusal(now=NOW, must_open_before=BEFORE) is None}
    assert {one.pk for one in found} == allowed
    assert 0 < len(allowed) < len(rows)
