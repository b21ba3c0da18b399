"""What can be chosen on the page to assign, and what trying it out says. Nothing is changed by either."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from bursary.assignments import cancellation
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata, ContentType
from tests import world
from tests.dashboard.desk import Desk, nothing_was_done
from tests.world import ALICE, BOB, CAROL, PRICE

pytestmark = pytest.mark.django_db

LATE = datetime(2900, 1, 31, 23, 30, tzinfo=UTC)  # in Madrid, the first of February
AGES = 400_000  # days: longer than that


def offered(text: str) -> list[str]:
    """Return the titles of the courses of which something can be chosen, and of the runs without a course."""
    return re.findall(r'<h3 id="course-of-\d+"><bdi>(.*?)</bdi>', text)


def test_what_is_refused_is_previewed_too(desk: Desk, budget: Budget) -> None:
    text = desk.assign(world.given_content(), f'{ALICE}\n"<script>" <a@b>\n{BOB}')
    domain = "Its domain has no full stop, and is not complete."
    assert f"Line 2, “a@b”: {domain}" in text
    assert results(text)[0] == ("2", "a@b", domain)
    assert "for 2 learners" in text
    assert nothing_was_done(budget)


# -- What can be chosen -------------------------------------------------------------------------------------


def test_an_offer_has_title_partner_price_and_the_day_in_the_organisations_time_zone(desk: Desk) -> None:
    content = world.given_content(title="Tidal Engines", partner_names="Riverside", enroll_by=LATE)

    text = desk.open()

    join_by = "join by Monday, 1 February 2900, 00:30 (Madrid time)"
    for shown in ("Riverside", "$199.00", join_by, content.content_key):
        assert shown in text
    assert offered(text) == ["Tidal Engines"]
    assert "From the budget" in text
    assert "$597.00 available" in text
    assert f'value="{PRICE} {content.content_key}"' in text


def test_only_what_could_be_assigned_is_on_offer(desk: Desk) -> None:
    long_ago = timezone.now() - timedelta(days=1)
    course = world.given_content(title="A course", with_run=False)
    world.given_content(
        title="A run", content_type=ContentType.COURSERUN, parent=course, catalog=None, price_cents=0
    )
    world.given_content(title="Closed", enroll_by=long_ago)
    world.given_content(title="Over", end_date=long_ago)
    world.given_content(title="Opens late", enroll_start=timezone.now() + timedelta(days=91))
    world.given_content(title="Inactive", with_run=False)
    world.given_content(title="Not offered", content_type=ContentType.COURSERUN, offered=False)
    world.given_content(title="A run elsewhere", with_run=False)
    world.given_content(
        content_type=ContentType.COURSERUN,
        catalog=uuid4(),
        parent_key=ContentMetadata.objects.latest("pk").content_key,
    )
    world.given_content(title="Without a price", price_cents=None)
    world.given_content(title="Gone", gone_at=long_ago)
    world.given_content(title="Elsewhere", catalog=uuid4())
    world.given_content(title="A program", content_type=ContentType.PROGRAM)

    text = desk.open()
    assert offered(text) == ["A course"]
    assert re.findall(r'name="course" [^>]* value="\d+ (.*?)"', text) == [
        course.content_key,
        ContentMetadata.objects.get(title="A run").content_key,
    ]


def test_a_search_finds_part_of_a_title_in_any_case(desk: Desk) -> None:
    world.given_content(title="Tidal Engines")
    world.given_content(title="Bookkeeping")

    text = desk.open(q=" tidal ")

    assert offered(text) == ["Tidal Engines"]
    assert 'value=" tidal "' in text


def test_a_search_that_finds_nothing_says_so(desk: Desk) -> None:
    world.given_content()

    text = desk.open(q="100%")

    assert offered(text) == []
    assert "No course open for enrolment has “100%” in its title" in text


@pytest.mark.parametrize("words", ["\0", "x" * 256])
def test_a_search_that_no_database_takes_is_said_to_be_wrong(desk: Desk, words: str) -> None:
    assert 'class="errorlist" id="q_error"' in desk.open(q=words)


def test_at_most_twenty_are_shown_and_that_there_are_more_is_said(desk: Desk) -> None:
    for number in range(20):
        world.given_content(title=f"Course {number:02}")
    assert "These are the first 20." not in desk.open(q="course")
    world.given_content(title="Course 20")

    text = desk.open(q="course")

    assert len(offered(text)) == 20
    assert "These are the first 20." in text


def test_the_page_takes_few_queries_and_no_payload(desk: Desk, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        world.given_content()

    with django_assert_max_num_queries(6) as queries:  # three for the session and the shell
        desk.open()
    assert "payload" not in str(queries.captured_queries)


def test_what_upstream_and_people_write_is_shown_and_never_run(desk: Desk) -> None:
    bad = "<script>alert(1)</script>"
    content = world.given_content(title=bad, partner_names=bad)

    searched = desk.client.get(desk.address, {"q": bad})
    answer = desk.press("preview", content, bad)

    for shown in (searched.content.decode(), answer.content.decode()):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
        assert "<script>" not in shown
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    done = desk.press("assign", content, ALICE).content.decode()
    assert "<script>" not in done
    assert "“&lt;script&gt;alert(1)&lt;/script&gt;” is assigned to 1 learner" in done


# -- Preview ------------------------------------------------------------------------------------------------


def test_a_preview_shows_the_result_and_changes_nothing(desk: Desk, budget: Budget) -> None:
    Budget.objects.update(allocation_age_days=AGES)
    content = world.given_content(enroll_by=LATE)

    text = desk.preview(content, f"{ALICE}\n{BOB}")

    for shown in (
        "$398.00, for 2 learners at $199.00 each",
        "<dt>Remaining</dt><dd>$199.00</dd>",
        "1 February 2900, 00:30 (Madrid time): enrolment closes then.",
        "would be assigned",
        "Continue to “Assign”",
    ):
        assert shown in text
    assert 'role="alert"' not in text
    assert nothing_was_done(budget)


def test_what_was_typed_and_chosen_is_kept(desk: Desk) -> None:
    world.given_content(title="Another")
    content = world.given_content()

    text = desk.preview(content, f"\n\n{ALICE},\n")

    assert f'value="{PRICE} {content.content_key}" checked' in text
    assert text.count(" checked") == 1
    assert f">\n\n\n{ALICE},\n</textarea>" in text.replace("\r\n", "\n")


def results(text: str) -> list[tuple[str, str, str]]:
    """Return line, address and result of every row."""
    rows = r'<td class="number">(\d+)</td>\s*<th scope="row"><bdi>(.*?)</bdi></th>\s*<td.*?>(.*?)</td>'
    return re.findall(rows, text)


def test_a_preview_has_a_result_for_every_address_by_its_line(desk: Desk, budget: Budget) -> None:
    content = world.given_content()
    world.allocate(budget, content, BOB)
    (carols,) = world.allocate(budget, content, CAROL).assignments(Verdict.NEW)
    cancellation.cancel(budget, uuids=[carols.uuid], now=world.NOW)

    text = desk.preview(content, f"\n{ALICE}\n\n {BOB} , nonsense\n{CAROL}\n{ALICE.upper()}")

    assert results(text) == [
        ("4", "nonsense", "It has no @."),
        ("4", BOB, "is already assigned, and costs nothing"),
        ("6", ALICE.upper(), "is the same learner as in line 2"),
        ("2", ALICE, "would be assigned"),
        ("5", CAROL, "would be assigned again: it was cancelled"),
    ]
    assert "$398.00, for 2 learners" in text
    assert "Line 4, “nonsense”: It has no @." in text
    assert "Continue to “Assign”" not in text


def test_of_several_on_a_line_the_entry_that_is_repeated_is_named(desk: Desk, budget: Budget) -> None:
    text = desk.preview(world.given_content(), f"{ALICE}, {BOB}\n{BOB.upper()}")

    assert ("2", BOB.upper(), f"is the same learner as “{BOB}” in line 1") in results(text)


def test_a_learner_is_matched_by_another_address(desk: Desk, budget: Budget) -> None:
    world.given_user(email=ALICE, lms_user_id=7001)
    content = world.given_content()
    world.allocate(budget, content, BOB)
    LearnerContentAssignment.objects.update(lms_user_id=7001)

    text = desk.preview(content, ALICE)

    assert results(text) == [("1", ALICE, f"is already assigned, to {BOB}, and costs nothing")]


def test_what_the_budget_cannot_pay_for_is_refused_in_dollars(desk: Desk, budget: Budget) -> None:
    text = desk.preview(world.given_content(), "\n".join(world.addresses(4)))

    assert "This costs $796.00; $597.00 is available." in text
    assert "<summary>1 learner for whom no money is left, in the order of the list</summary>" in text
    assert "used up before this entry" not in text
    assert "Assign to fewer learners, or have the budget raised." in text
    assert "<dd>-$199.00</dd>" in text
    assert 'role="alert"' in text


def test_an_unlimited_budget_stays_so(desk: Desk) -> None:
    Budget.objects.update(limit_cents=None)

    text = desk.preview(world.given_content(price_cents=0), ALICE)

    assert "$0.00, for 1 learner at $0.00 each" in text
    assert "<dt>Remaining</dt><dd>unlimited</dd>" in text
