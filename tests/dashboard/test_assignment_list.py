"""The list of assignments: what it shows, finds, counts and sorts, page by page."""

import html
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import cancellation, declining
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, Customer
from bursary.dashboard import assignment_filters, assignment_list
from bursary.replica.models import ContentMetadata
from tests import world

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]
LIST = "/assignments/"


@pytest.fixture
def customer(client: Client, monkeypatch: pytest.MonkeyPatch) -> Customer:
    """An organisation, with its administrator signed in on the day of the assignments."""
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))
    customer = world.given_customer()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer))
    return customer


@pytest.fixture
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page have six rows."""
    monkeypatch.setattr(assignment_list, "PAGE", 6)


@pytest.fixture
def budget(customer: Customer) -> Budget:
    return world.given_budget(customer=customer, name="Languages")


def page(client: Client, address: str = LIST, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.content.decode()).split())


def given(budget: Budget, content: ContentMetadata, address: str) -> None:
    world.allocate(budget, content, address, price_cents=content.price_cents or 0)


def learners(text: str) -> list[str]:
    """Return the local parts of the addresses, in the order of the rows."""
    return re.findall(r'<th scope="row"><a [^>]*><bdi>(.*?)@', text)


def tabs(text: str) -> dict[str, int]:
    nav = text.partition('<nav class="tabs')[2].partition("</nav>")[0]
    return {name: int(count) for name, count in re.findall(r'>([^<>]+) <span class="count">(\d+)<', nav)}


def next_page(text: str) -> str:
    found = re.search(r'rel="next" href="(.*?)"', text)
    return LIST + found.group(1) if found else ""


def test_a_row_has_learner_course_price_deadline_and_its_reason(client: Client, budget: Budget) -> None:
    content = world.given_content(title="Tidal Engines", partner_names="Riverside University")
    world.given_assignment(budget, content, address="lena@people.example")

    text = page(client)

    for shown in ("lena@people.example", "Tidal Engines", "Riverside University", "Languages", "$199.00"):
        assert shown in text
    assert '<span class="time">31 May 2026</span> <small>then it expires</small>' in text


def test_a_failure_is_shown_with_its_cause(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, address="leo@nowhere.invalid")
    world.deliver()

    text = page(client, status="failed")

    assert '<span class="chip chip-danger">Not notified</span>' in text
    assert "The address does not exist." in text
    assert tabs(text)["Not notified"] == 1


def test_a_failures_cause_is_chosen_among_those_that_there_are(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), "leo@nowhere.invalid", "ann@people.example")
    world.deliver()

    def choices(text: str) -> list[tuple[str, str]]:
        return re.findall(r'<option value="(\w+)"[^>]*>The address does not exist. \((\d+)\)', text)

    chosen = page(client, cause="address_rejected")
    assert choices(page(client)) == choices(chosen) == [("address_rejected", "1")]
    assert learners(chosen) == ["leo"]
    assert '<option value="address_rejected" selected>' in chosen
    assert choices(page(client, status="waiting")) == []
    none_left = page(client, cause="address_rejected", status="waiting")
    assert choices(none_left) == [("address_rejected", "0")]


def test_statuses_are_counted_whichever_is_chosen(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(4))
    rows = LearnerContentAssignment.objects.order_by("pk")
    cancellation.cancel(budget, uuids=[rows[0].uuid], now=world.NOW)
    declining.decline(rows[1], reason="No time", now=world.NOW)

    text, declined = page(client, status="cancelled"), page(client, status="declined")

    counts = {"All": 4, "Being notified": 2, "Declined": 1, "Cancelled": 1}
    assert tabs(text) == tabs(declined) == counts
    assert learners(text) == ["learner-0"]
    assert learners(declined) == ["learner-1"]
    assert re.findall(r'class="chip chip-\w+">(.*?)<', text + declined) == ["Cancelled", "Declined"]
    assert "No time" in declined


@pytest.mark.on_every_engine
@pytest.mark.usefixtures("_short_pages")
def test_pages_by_cursor_have_every_row_once_in_both_directions(client: Client, budget: Budget) -> None:
    count = 2 * assignment_list.PAGE + 3
    world.allocate(budget, world.given_content(), *world.addresses(count))

    seen, address, back = [], f"{LIST}?sort=learner_email", ""
    while address:
        text = page(client, address)
        seen.append(learners(text))
        assert tabs(text) == {"All": count, "Being notified": count}
        back = back or (re.search(r'rel="prev" href="(.*?)"', text) or [""])[0]
        address = next_page(text)

    assert f"all {count} that the filter finds" in text  # on the last page, too
    flat = [one for rows in seen for one in rows]
    assert flat == sorted((f"learner-{number}" for number in range(count)), key=lambda name: f"{name}@")
    assert [len(rows) for rows in seen] == [assignment_list.PAGE, assignment_list.PAGE, 3]
    earlier = re.search(r'rel="prev" href="(.*?)"', text)
    assert earlier
    assert learners(page(client, LIST + earlier.group(1))) == seen[1]


@pytest.mark.usefixtures("_short_pages")
def test_a_later_page_counts_each_status_whichever_is_chosen(client: Client, budget: Budget) -> None:
    count = assignment_list.PAGE + 2
    world.allocate(budget, world.given_content(), *world.addresses(count))
    cancelled = LearnerContentAssignment.objects.earliest("pk")
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)

    first = page(client, status="notifying")
    later = page(client, next_page(first))

    assert len(learners(later)) == 1
    assert tabs(later) == tabs(first) == {"All": count, "Being notified": count - 1, "Cancelled": 1}


def test_a_cursor_that_is_none_is_the_first_page(
    client: Client, budget: Budget, subtests: pytest.Subtests
) -> None:
    world.given_assignment(budget, address="lena@people.example")
    for cursor in ("x", "W10", "WzAsMSwyXQ", "bnVsbA", "WzAsIngiLCJ5Il0", "\0"):
        with subtests.test(cursor=cursor):
            text = page(client, cursor=cursor, sort="expires_at")
            assert learners(text) == ["lena"]
            assert "does not exist: this is the first one." in text


def test_a_sorting_that_is_none_is_that_of_the_latest(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, address="lena@people.example")
    text = page(client, sort="state; drop table")
    assert ("does not exist" in text, learners(text)) == (False, ["lena"])
    assert "The list cannot be sorted by “state; drop table”: the latest come first." in text


def test_fields_that_are_left_empty_are_left_out_of_the_address(client: Client, budget: Budget) -> None:
    answer = client.get(LIST, {"search": "ann", "budget": "", "cause": "", "sort": "-price_cents"})

    assert (answer.status_code, answer.headers["Location"]) == (302, f"{LIST}?search=ann&sort=-price_cents")
    assert client.get(LIST, {"search": ""}).headers["Location"] == LIST


def test_what_has_ended_shows_how_and_when_in_place_of_a_deadline(client: Client, budget: Budget) -> None:
    row = world.given_assignment(budget, address="lena@people.example")
    cancellation.cancel(budget, uuids=[row.uuid], now=world.NOW)

    assert "<small>cancelled 2 Mar 2026</small>" in page(client)


def test_each_column_sorts_both_ways(client: Client, budget: Budget, subtests: pytest.Subtests) -> None:
    for number, title in enumerate(("Art", "Biology")):
        content = world.given_content(title=title, price_cents=100 * (number + 1))
        given(budget, content, f"{title}@people.example")

    for sort in sorted(assignment_filters.SORTS):
        with subtests.test(sort):
            up, down = page(client, sort=sort), page(client, sort=f"-{sort}")
            assert learners(up) == learners(down)[::-1]
            assert 'aria-sort="ascending"' in up
            assert 'aria-sort="descending"' in down


@pytest.mark.on_every_engine
def test_filters_find_what_they_say(client: Client, budget: Budget) -> None:
    other = world.given_budget(customer=budget.customer, name="Engines")
    art = world.given_content(title="Art", partner_names="Riverside", price_cents=5_000)
    given(budget, art, "ann@people.example")
    world.given_assignment(other, world.given_content(title="Biology"), address="ben@people.example")
    soon = timezone.now() + timedelta(days=5)
    of_ben = LearnerContentAssignment.objects.filter(learner_email="ben@people.example")
    of_ben.update(expires_at=soon)

    for query, found in (
        ({"search": "ann"}, ["ann"]),
        ({"search": "biol"}, ["ben"]),
        ({"budget": other.uuid}, ["ben"]),
        ({"content_title__icontains": "art"}, ["ann"]),
        ({"content_partner__icontains": "river"}, ["ann"]),
        ({"content_key": art.content_key}, ["ann"]),
        ({"price_to": "50"}, ["ann"]),
        ({"price_from": "50.01"}, ["ben"]),
        ({"within": "7"}, ["ben"]),
        ({"assigned_to": "2026-03-01"}, []),
        (
            {"assigned_from": "2026-03-02", "assigned_to": "2026-03-02", "sort": "learner_email"},
            ["ann", "ben"],
        ),
        ({"price_from": "many"}, []),
    ):
        assert learners(page(client, **query)) == found, query


def test_a_filter_that_finds_nothing_says_so_and_how_to_leave_it(client: Client, budget: Budget) -> None:
    world.given_assignment(budget)

    text = page(client, search="no such learner")

    assert "No assignment matches" in text
    assert 'href="/assignments/"' in text


def test_what_the_filter_finds_is_exported(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, address="ann@people.example")
    world.given_assignment(budget, world.given_content(), address="ben@people.example")
    world.given_assignment(address="stranger@elsewhere.example")

    assert 'href="/assignments/export/?search=ann"' in page(client, search="ann")
    answer: Any = client.get("/assignments/export/", {"search": "ann"})
    text = answer.getvalue().decode()

    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "ann@people.example" in text
    assert "ben@" not in text
    assert "stranger@" not in client.get("/assignments/export/").getvalue().decode()


UNREADABLE: list[tuple[dict[str, str], str]] = [
    ({"price_from": "many"}, "Price from: Enter a number."),
    ({"assigned_from": "soon"}, "Assigned from: Give a date"),
    ({"status": "allocated"}, "There is no status “allocated”."),
    ({"within": "0"}, "Deadline within: Give 1 or more."),
    ({"price_from": "60", "price_to": "50"}, "Price from: It is beyond the other end: nothing can match."),
    ({"budget": "nonsense"}, "There is no budget “nonsense”: choose one below."),
    ({"learnerstate": "waiting"}, "There is no filter “learnerstate”."),
]


def test_an_address_that_cannot_be_read_exports_nothing_and_says_why(
    client: Client, budget: Budget, subtests: pytest.Subtests
) -> None:
    world.given_assignment(budget)

    for query, problem in UNREADABLE:
        with subtests.test(query=query):
            answer = client.get("/assignments/export/", query)
            assert answer.status_code == 400
            assert problem in html.unescape(answer.content.decode())
            text = page(client, **query)
            assert (problem in text, learners(text)) == (True, [])
            assert not LogEntry.objects.exists()


def test_only_the_selected_ones_are_exported(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(3))
    stranger = world.given_assignment(address="stranger@elsewhere.example")
    first, *_others = LearnerContentAssignment.objects.filter(budget=budget).order_by("pk")
    asked = {"query": "sort=price_cents", "uuid": [str(first.uuid), str(stranger.uuid)]}

    answer: Any = client.post("/assignments/export/", asked)

    addresses = re.findall(r"^([^,]+@[^,]+),", answer.getvalue().decode(), re.MULTILINE)
    assert addresses == [first.learner_email]
    assert LogEntry.objects.get().change_message.endswith(": 1; filter: selected by hand")
    everything: Any = client.post("/assignments/export/", {**asked, "everything": "yes"})
    assert everything.getvalue().decode().count("@learners.example,") == 3
    nothing = client.post("/assignments/export/", {"query": "sort=price_cents"}, follow=True)
    assert "Select some assignments first" in nothing.content.decode()


def test_others_assignments_are_not_there(client: Client, budget: Budget) -> None:
    stranger = world.given_assignment(address="stranger@elsewhere.example")

    assert "stranger" not in page(client)
    assert client.get(LIST, {"budget": str(stranger.budget.uuid)}).status_code == 404


def test_a_learner_has_no_such_page(client: Client) -> None:
    client.force_login(world.given_user(Role.LEARNER, customer=world.given_customer()))
    assert client.get(LIST).status_code == 404

    client.logout()
    assert client.get(LIST).headers["Location"].startswith("/sign-in/")


def test_titles_and_names_of_others_are_shown_and_never_run(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, world.given_content(title='<script>alert("x")</script>مرحبا'))

    answer = client.get(LIST).content.decode()

    assert "<script>alert" not in answer
    assert '<span dir="auto">&lt;script&gt;' in answer


def test_a_full_page_takes_few_queries(
    client: Client, budget: Budget, django_assert_max_num_queries: MaxQueries
) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(assignment_list.PAGE))
    world.given_assignment(world.given_budget(customer=budget.customer))

    with django_assert_max_num_queries(12) as queries:
        page(client)

    assert '"payload"' not in str(queries.captured_queries)


def test_an_expired_one_has_no_deadline_any_more(client: Client, budget: Budget) -> None:
    assignment = world.given_assignment(budget)
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(state=State.EXPIRED)

    assert "then it expires" not in page(client)


def test_the_address_has_a_name(client: Client) -> None:
    assert reverse("assignment-list") == LIST


@pytest.mark.on_every_engine
def test_the_money_of_what_ended_in_a_period_is_added_up(client: Client, budget: Budget) -> None:
    for number in range(5):
        content = world.given_content(price_cents=100 * (number + 1))
        given(budget, content, f"learner-{number}@people.example")
    states = (
        (State.EXPIRED, {"expired_at": datetime(2025, 12, 31, 22, 59, 59, tzinfo=UTC)}),  # in Madrid 2025
        (State.EXPIRED, {"expired_at": datetime(2025, 12, 31, 23, tzinfo=UTC)}),
        (State.ACCEPTED, {"accepted_at": datetime(2026, 2, 1, tzinfo=UTC), "expired_at": world.NOW}),
        (State.CANCELLED, {"cancelled_at": datetime(2026, 1, 31, 22, 59, tzinfo=UTC)}),
    )
    for row, (state, columns) in zip(LearnerContentAssignment.objects.order_by("pk"), states, strict=False):
        LearnerContentAssignment.objects.filter(pk=row.pk).update(state=state, **columns)

    january = {"ended_from": "2026-01-01", "ended_to": "2026-01-31"}
    both = page(client, **january)
    expired = page(client, **january, status="expired")

    assert sorted(learners(both)) == ["learner-1", "learner-3"]
    assert "2 assignments · $6.00" in both
    assert (learners(expired), "1 assignment · $2.00" in expired) == (["learner-1"], True)
    assert 'href="/assignments/totals/?ended_from=2026-01-01&ended_to=2026-01-31"' in both
    assert learners(page(client, ended_from="2026-02-01")) == ["learner-2"]
    due = page(client, due_from="2026-03-01", due_to="2026-05-31")
    assert (learners(due), "1 assignment · $5.00" in due) == (["learner-4"], True)
    everything = page(client)
    assert 'href="/assignments/totals/?">Totals</a>' in everything
    assert "assignments · $" not in everything
