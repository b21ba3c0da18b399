"""Filling in the page to assign: searching, previewing while typing, files, a message, and pressing twice."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError
from django.utils import timezone

from bursary.assignments import allocation
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.dashboard import assign, catalog_choices
from bursary.replica.models import ContentMetadata, ContentType
from tests import world
from tests.dashboard.desk import Desk, nothing_was_done, stored
from tests.dashboard.test_preview import offered, results
from tests.world import ALICE, BOB, PRICE

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
NOT_AS_IT_IS = ' · <a href="#preview" class="error">cannot be assigned as it is</a>'


def chosen(text: str) -> list[str]:
    """Return the content keys of the options that are chosen."""
    return re.findall(r'name="course" [^>]*value="\d+ ([^"]*)" checked', text)


def options(text: str) -> list[str]:
    """Return the content keys of all options."""
    return re.findall(r'name="course" [^>]*value="\d+ ([^"]*)"', text)


# -- Searching ----------------------------------------------------------------------------------------------


@pytest.mark.on_every_engine
@pytest.mark.parametrize("words", ["engines tidal", "riverside", "TIDALX+TE1", "course-v1:TidalX+TE1+R7"])
def test_a_search_looks_at_title_partner_and_keys(desk: Desk, words: str) -> None:
    course = world.given_content(
        "TidalX+TE1", title="Tidal Engines", partner_names="Riverside", with_run=False
    )
    world.given_run(course, "course-v1:TidalX+TE1+R7")
    world.given_content("OtherX+B1", title="Bookkeeping of engines")

    assert offered(desk.open(q=words)) == ["Tidal Engines"]


def test_no_course_is_found_by_the_key_of_a_run_that_only_another_catalog_has(desk: Desk) -> None:
    course = world.given_content("TidalX+TE1")
    kind: Any = {"content_type": ContentType.COURSERUN, "parent_key": course.content_key}
    world.given_content("course-v1:TidalX+TE1+PRIVATE", catalog=uuid4(), **kind)

    assert offered(desk.open(q="TE1+PRIVATE")) == []
    assert offered(desk.open(q="TE1+R1")) == ["Tidal Engines"]


def test_under_a_course_its_runs_stand_by_their_start_and_further_ones_are_folded(desk: Desk) -> None:
    course = world.given_content(with_run=False)
    tomorrow = timezone.now() + timedelta(days=1)
    for number in (6, 2, 1, 5, 3, 4):
        key = f"course-v1:{course.content_key}+R{number}"
        world.given_run(course, key, start_date=tomorrow + timedelta(days=number))

    text = desk.open()

    runs = [f"course-v1:{course.content_key}+R{number}" for number in range(1, 7)]
    assert options(text) == [course.content_key, *runs]
    visible, folded = text.split("<summary>2 more runs</summary>")
    assert options(visible) == [course.content_key, *runs[:4]]
    assert options(folded) == runs[4:]


def test_how_fresh_it_is_stands_beside_it(desk: Desk) -> None:
    at = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    world.given_content(title="Fresh", checked_at=at)
    world.given_content(title="Stale", checked_at=at, fresh_until=at + timedelta(days=1))

    text = desk.open()

    assert text.count("as of Monday, 2 March 2026, 10:00 (Madrid time)") == 2
    assert text.count("not checked since") == 1
    assert text.index("Stale") < text.index("not checked since")


def test_the_choice_survives_a_search_that_does_not_find_it(desk: Desk) -> None:
    content = world.given_content(title="Tidal Engines")
    world.given_content(title="Bookkeeping")

    text = desk.open(q="bookk", course=f"{PRICE} {content.content_key}")

    assert offered(text) == ["Tidal Engines", "Bookkeeping"]
    assert chosen(text) == [content.content_key]
    assert "1 course can be joined." in text


def test_of_htmx_a_search_is_answered_with_the_courses_alone(desk: Desk) -> None:
    world.given_content(title="Tidal Engines")

    answer = desk.client.get(desk.address, {"q": "tidal"}, headers=HTMX)

    text = desk.text(answer)
    assert offered(text) == ["Tidal Engines"]
    assert "<html" not in text
    assert "addresses" not in text


def test_without_scripts_a_search_keeps_all_that_was_typed_and_calls_nothing_a_mistake(
    desk: Desk, budget: Budget
) -> None:
    content = world.given_content(title="Tidal Engines")
    world.given_content(title="Bookkeeping")
    typed = {"due_date": "2900-03-20", "message": "See <you> there", "allow_another": "on", "q": "bookk"}
    file = SimpleUploadedFile("list.csv", BOB.encode())

    text = desk.text(desk.press("search", content, f"{ALICE}\nnonsense", **typed, file=file))

    assert chosen(text) == [content.content_key]
    assert offered(text) == ["Tidal Engines", "Bookkeeping"]
    assert f">\n{ALICE}\nnonsense\n{BOB}</textarea>" in text.replace("\r\n", "\n")
    assert ">\nSee <you> there</textarea>" in text
    assert 'name="due_date" value="2900-03-20"' in text
    assert 'name="allow_another" value="on" id="allow_another" checked' in text
    assert 'role="alert"' not in text
    assert nothing_was_done(budget)
    empty = desk.text(desk.client.post(desk.address, {"q": "bookk", "search": "yes"}))
    assert 'role="alert"' not in empty


def test_beyond_the_first_four_courses_the_others_are_folded(desk: Desk) -> None:
    letters = "-ABCDEF"  # a key that a count made might have the 5 that is searched for
    for number in range(1, 7):
        world.given_content(f"RiversideX+{letters[number]}", title=f"Course {number}")

    visible, folded = desk.open().split("<summary>2 more courses</summary>")

    assert offered(visible) == [f"Course {number}" for number in range(1, 5)]
    assert offered(folded) == ["Course 5", "Course 6"]
    assert "more course" not in desk.open(q="Course 5")


def test_the_shown_runs_of_many_courses_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_choices, "MAX_RUNS", 3)
    for _ in range(5):
        world.given_content()

    assert len(options(desk.open())) == 5 + 3


# -- Previewing while typing --------------------------------------------------------------------------------


def live(desk: Desk, content: ContentMetadata | None, typed: str, **more: Any) -> str:
    course = f"{more.pop('price', PRICE)} {content.content_key}" if content else ""
    body = {"course": course, "addresses": typed, **more}
    return desk.text(desk.client.post(desk.address, body, headers=HTMX))


def test_while_typing_the_preview_has_mistakes_first_and_the_ordinary_folded(
    desk: Desk, budget: Budget
) -> None:
    content = world.given_content()

    text = live(desk, content, f"{ALICE}\nnonsense\nbo@gmial.com")

    assert "<html" not in text
    assert [line for line, _address, _result in results(text)] == ["2", "3", "1"]
    assert re.findall(r'<details class="kind"( open)?>\s*<summary>(.*?)</summary>', text) == [
        (" open", "1 entry to correct"),
        (" open", "1 entry to check"),
        ("", "1 learner without remarks"),
    ]
    assert "<strong>2 learners, $398.00</strong> · $199.00 remains" in text
    assert f"$199.00 remains{NOT_AS_IT_IS}" in text
    assert 'id="assign" class="btn btn-primary">Assign</button>' in text  # not while there are mistakes
    assert nothing_was_done(budget)
    corrected = live(desk, content, f"{ALICE}\n{BOB}")
    assert "Assign to 2 learners for $398.00" in corrected
    assert NOT_AS_IT_IS not in corrected


def test_what_the_budget_cannot_pay_for_is_said_beside_the_button(desk: Desk) -> None:
    text = live(desk, world.given_content(), "\n".join(world.addresses(4)))
    assert "<strong>4 learners, $796.00</strong> · only $597.00 available" in text


def test_what_is_not_filled_in_yet_is_no_mistake_while_typing(desk: Desk) -> None:
    content = world.given_content()
    for text in (live(desk, None, ALICE), live(desk, content, " \n")):
        assert "Choose a course or a run, and enter the learners" in text
        assert "cannot be assigned" not in text


def test_assigning_is_never_done_by_a_preview_of_htmx(desk: Desk, budget: Budget) -> None:
    live(desk, world.given_content(), ALICE, assign="yes")
    assert nothing_was_done(budget)


def test_a_file_is_moved_into_the_list_where_its_mistakes_can_be_corrected(desk: Desk) -> None:
    file = SimpleUploadedFile("list.csv", f"{BOB}\n</textarea>nonsense".encode())

    text = desk.client.post(
        desk.address,
        {"course": f"{PRICE} {world.given_content().content_key}", "addresses": ALICE, "file": file},
        headers=HTMX,
    ).content.decode()

    area = re.search(r'<textarea name="addresses"[^>]*hx-swap-oob[^>]*>\n(.*?)</textarea>', text, re.DOTALL)
    assert area
    assert area[1] == f"{ALICE}\n{BOB}\n&lt;/textarea&gt;nonsense"
    assert re.search(r'<input type="file" name="file" id="file" hx-swap-oob', text)
    assert "<textarea" not in live(desk, None, ALICE)


def test_of_very_many_entries_of_a_kind_the_first_are_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assign, "MAX_ENTRIES_SHOWN", 2)
    text = live(desk, world.given_content(price_cents=0), "\n".join(world.addresses(5)), price=0)
    assert len(results(text)) == 2
    assert "5 learners without remarks" in text
    assert "3 more are not shown here." in text


# -- The message --------------------------------------------------------------------------------------------


def test_the_message_is_sent_as_it_was_typed_and_kept_with_the_request(desk: Desk) -> None:
    desk.assign(world.given_content(), ALICE, message=" Dear all,\r\nsee <b>https://x.example</b> ")

    assert AllocationBatch.objects.get().message == "Dear all,\nsee <b>https://x.example</b>"
    world.deliver(now=timezone.now())
    sent = world.action_of(LearnerContentAssignment.objects.get(), ActionType.NOTIFIED).payload
    assert "Dear all,\nsee <b>https://x.example</b>" in sent["text"]
    assert "see &lt;b&gt;https://x.example&lt;/b&gt;" in sent["html"]
    assert 'href="https://x.example' not in sent["html"]


@pytest.mark.parametrize(("length", "fits"), [(1000, True), (1001, False)])
def test_a_message_has_at_most_a_thousand_characters_an_end_of_line_being_one(
    desk: Desk, budget: Budget, length: int, fits: bool
) -> None:
    message = "\r\n".join(["x" * 499, "y" * (length - 500)])
    text = desk.assign(world.given_content(), ALICE, message=message)
    assert bool(stored()) == fits
    assert ('<a href="#message">' in text) == (not fits)


# -- Pressing twice -----------------------------------------------------------------------------------------


def token_of(text: str) -> str:
    found = re.search(r'name="request" value="(.*?)"', text)
    assert found
    return found[1]


def test_pressing_twice_is_one_request_and_leads_to_its_page_both_times(desk: Desk) -> None:
    content, token = world.given_content(), token_of(desk.open())

    first, second = (desk.press("assign", content, ALICE, request=token) for _ in range(2))

    assert first.redirect_chain == second.redirect_chain
    assert AllocationBatch.objects.count() == 1
    assert stored() == [(ALICE, State.ALLOCATED, PRICE)]
    assert "had “" not in second.content.decode()


def test_pressing_again_leads_to_the_page_also_once_nothing_could_be_assigned(desk: Desk) -> None:
    content, token = world.given_content(), token_of(desk.open())
    first = desk.press("assign", content, ALICE, request=token)
    Budget.objects.update(ends_at=timezone.now() - timedelta(days=1))

    second = desk.press("assign", content, ALICE, request=token)

    assert second.redirect_chain == first.redirect_chain


def test_the_same_page_with_another_list_is_another_request(desk: Desk) -> None:
    content, token = world.given_content(), token_of(desk.open())
    for typed in (ALICE, f"{ALICE}\n{BOB}"):
        desk.assign(content, typed, request=token)
    assert [address for address, _state, _price in stored()] == [ALICE, BOB]
    assert AllocationBatch.objects.count() == 2


def test_each_page_is_a_request_of_its_own(desk: Desk) -> None:
    tokens = {token_of(desk.open()) for _ in range(2)}
    assert len({UUID(token) for token in tokens}) == 2


@pytest.mark.on_every_engine
def test_the_second_of_two_presses_at_once_leads_to_the_first_ones_page(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, allocate = world.given_content(), allocation.allocate

    def beaten(*asked: Any, **more: Any) -> None:
        allocate(*asked, **more)
        raise IntegrityError

    monkeypatch.setattr(allocation, "allocate", beaten)
    answer = desk.press("assign", content, ALICE, request=str(uuid4()))
    assert answer.redirect_chain == [(f"/batches/{AllocationBatch.objects.get().uuid}/", 302)]
