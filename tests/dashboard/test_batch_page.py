"""The page of one request to assign: how far its mails are, what failed, and what it left as it was."""

import html
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import cancellation, declining, erasure, redemption
from bursary.assignments.allocation import Allocation
from bursary.assignments.choices import Status
from bursary.assignments.matching import Verdict
from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Budget
from bursary.dashboard import batch_page
from bursary.replica.models import ContentMetadata
from tests import world
from tests.world import ALICE, BOB, CAROL

pytestmark = pytest.mark.django_db

SOON = world.NOW + timedelta(minutes=5)
BAD = "gone@learners.invalid"


@pytest.fixture
def budget(client: Client, monkeypatch: pytest.MonkeyPatch) -> Budget:
    """A budget, soon after its assignments; its administrator is signed in."""
    monkeypatch.setattr(timezone, "now", lambda: SOON)
    budget = world.given_budget(name="Languages")
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada"))
    return budget


@pytest.fixture
def content() -> ContentMetadata:
    return world.given_content(title="Tidal Engines")


def page(client: Client, made: Allocation, *, htmx: bool = False, **query: str) -> str:
    headers = {"HX-Request": "true"} if htmx else {}
    answer = client.get(f"/batches/{made.batch.uuid}/", query, headers=headers)
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.content.decode()).split())


def section(text: str, name: str) -> str:
    return text.partition(f'id="{name}"')[2].partition("</section>")[0].replace("<wbr>", "")


def figures(text: str) -> dict[str, int]:
    """Return the numbers of the progress."""
    pairs = re.findall(r"</i>([^<]*)</dt><dd>(\d+)</dd>", section(text, "progress"))
    return {words: int(number) for words, number in pairs}


def assign(budget: Budget, content: ContentMetadata, *addresses: str, **more: Any) -> Allocation:
    return world.allocate(budget, content, *addresses, **more)


def test_it_says_what_was_asked_for_and_writes_the_message_as_text(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    user = world.given_user(username="grace")
    world.change_content(content, title="<img src=x onerror=alert(2)>")
    made = assign(
        budget, content, ALICE, BOB, actor=user, message="<script>alert(1)</script>\nhttps://x.example"
    )

    answer = client.get(f"/batches/{made.batch.uuid}/").content.decode()
    text = page(client, made)

    assert "&lt;script&gt;alert(1)&lt;/script&gt;\nhttps://x.example</p>" in answer
    assert 'href="https://x.example' not in answer
    assert "&lt;img src=x onerror=alert(2)&gt;</h1>" in answer
    assert "<img src=x" not in answer
    for shown in ("<bdi>grace</bdi>", "Languages", "$199.00", "Assigned to 2 learners."):
        assert shown in text
    assert "Monday, 2 March 2026, 10:00 (Madrid time)" in text


def test_while_mails_are_on_their_way_it_says_until_when_and_asks_again(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE, BOB)

    text = page(client, made, htmx=True)

    assert "<html" not in text
    assert figures(text) == {"Notified": 0, "Not notified": 0, "Being notified": 2}
    assert "0 of 2 learners are notified." in text
    assert "Next try" not in text
    assert "Each is tried within a minute." in text
    assert f'hx-get="/batches/{made.batch.uuid}/" hx-trigger="every 2s"' in text


def test_what_is_due_later_has_its_hour(client: Client, budget: Budget, content: ContentMetadata) -> None:
    made = assign(budget, content, ALICE)
    LearnerContentAssignmentAction.objects.filter(status=Status.PENDING).update(
        due_at=world.NOW + timedelta(hours=1)
    )

    text = page(client, made, htmx=True)

    assert "Each is tried by Monday, 2 March 2026, 11:00 (Madrid time) at the latest." in text
    assert "within a minute" not in text


def test_each_open_assignment_has_its_deadline(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE, BOB)
    bobs = LearnerContentAssignment.objects.get(learner_email=BOB)
    cancellation.cancel(budget, uuids=[bobs.uuid], now=SOON)

    rows = section(page(client, made), "learners").partition("<tbody>")[2].split("</tr>")

    for address, deadline in ((ALICE, "31 May 2026"), (BOB, "")):
        (row,) = [one for one in rows if address in one]
        assert f'<td class="time" data-label="Deadline">{deadline}</td>' in row


def test_when_all_are_notified_it_says_so_and_asks_no_more(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE, BOB)
    world.deliver()

    for text in (page(client, made), page(client, made, htmx=True)):
        assert figures(text) == {"Notified": 2, "Not notified": 0, "Being notified": 0}
        assert "All mails are sent." in text
        assert "hx-trigger" not in text


def test_those_that_ended_after_their_mail_are_notified_and_the_status_of_each_is_counted(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE, BOB, CAROL)
    unsent = assign(budget, content, "dave@learners.example")
    cancellation.cancel(budget, uuids=[unsent.assignments(Verdict.NEW)[0].uuid], now=world.NOW)
    world.deliver()
    declining.decline(LearnerContentAssignment.objects.get(learner_email=BOB), reason="", now=world.NOW)

    text = page(client, made)

    assert "3 of 3 learners are notified." in text
    assert figures(text) == {"Notified": 3, "Not notified": 0, "Being notified": 0}
    assert "Since then: Waiting 2 · Declined 1</p>" in text
    text = page(client, unsent)
    assert "0 of 1 learner is notified." in text
    assert "<dt>Ended before that</dt><dd>1</dd>" in text


def test_what_failed_comes_first_with_its_cause_and_the_way_to_mend_it(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE, BAD)
    world.deliver()

    text = page(client, made)

    failed = LearnerContentAssignment.objects.get(learner_email=BAD)
    shown = section(text, "not-notified")
    assert "The address does not exist." in shown
    assert f'<a href="/assignments/{failed.uuid}/">Correct the address.' in shown
    assert 'value="retry"' not in shown  # it would bounce again
    assert BAD not in section(text, "learners")
    assert ALICE in section(text, "learners")
    assert "No mail is on its way any more." in text


def test_what_can_be_tried_again_is_retried_together(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE, BAD)
    world.deliver()
    LearnerContentAssignment.objects.get(learner_email=BAD).actions.filter(status="failed").update(
        error_code="mail_server_unreachable"
    )

    text = section(page(client, made), "not-notified")
    query = re.findall(r'name="query" value="(.*?)"', text)[0]
    asked = client.post(
        "/assignments/selected/", {"verb": "retry", "everything": "yes", "query": query}, follow=True
    )

    assert "Retry one assignment?" in asked.content.decode()


def test_a_mail_that_is_tried_again_shows_when(
    client: Client, budget: Budget, content: ContentMetadata, settings: Settings
) -> None:
    made = assign(budget, content, ALICE)
    settings.EMAIL_URL = "smtp://127.0.0.1:9"
    assignment = LearnerContentAssignment.objects.get()
    later = SOON + timedelta(minutes=10)
    assignment.actions.filter(action_type="notified").update(attempts=1, due_at=later)

    text = page(client, made)

    assert "1 mail could not be sent yet; it is tried again." in text
    assert "Next try: Monday, 2 March 2026, 10:15 (Madrid time)." in text


def test_it_names_each_learner_without_a_new_assignment_and_why(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    run = ContentMetadata.objects.get(content_key=content.advertised_run)
    assign(budget, content, ALICE, BOB)
    by_run = assign(budget, run, CAROL).assignments(Verdict.NEW)[0]
    redemption.fulfil(redemption.begin(by_run, now=world.NOW), now=world.NOW)
    declining.decline(LearnerContentAssignment.objects.get(learner_email=BOB), reason="", now=world.NOW)

    made = assign(budget, content, ALICE, BOB, CAROL, "new@learners.example", ALICE.upper())

    text = section(page(client, made), "unchanged")
    rows = [
        (address, why) for address, why in re.findall(r"<bdi>(.*?)</bdi></a> <span[^>]*>(.*?)</span>", text)
    ]
    assert sorted(rows) == [
        (ALICE, "It was assigned before."),
        (BOB, "The learner declined it before."),
        (CAROL, f"The course was accepted before: {run.content_key}."),
    ]
    assert "3 learners of this request got nothing new, and cost nothing." in text
    assert "1 entry of the list repeated a learner." in text
    assert "Assigned to 1 learner." in page(client, made)


def test_a_forgotten_learner_is_named_no_more(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    first = assign(budget, content, ALICE, BOB)
    made = assign(budget, content, ALICE)
    assert ALICE in page(client, made)

    assert erasure.forget(ALICE, now=SOON, remove=lambda _actions: 0).complete

    for one in (first, made):
        assert "alice" not in page(client, one)
    assert ">Learner (name removed)</bdi></a> <span" in section(page(client, made), "unchanged")
    assert "alice" not in str(list(AllocationBatch.objects.values()))


def test_a_request_of_an_earlier_release_counts_them_without_names(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    assign(budget, content, ALICE)
    made = assign(budget, content, ALICE)
    AllocationBatch.objects.update(unchanged={})

    text = section(page(client, made), "unchanged")

    assert "1 learner of this request got nothing new" in text
    assert "before their names were kept" in text
    assert "Nothing new was assigned." in page(client, made)


def test_many_are_shown_in_pages(
    client: Client, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_page, "PAGE", 2)
    people = world.addresses(5)
    first = assign(budget, content, *people)
    made = assign(budget, content, *people)

    found: list[str] = []
    query: dict[str, str] = {}
    for _ in range(3):
        text = section(page(client, first, htmx=False, **query), "learners")
        found += re.findall(r"<bdi>(.*?)</bdi>", text)
        following = re.findall(r'rel="next" href="\?cursor=(.*?)"', text)
        query = {"cursor": following[0]} if following else {}
    assert (found, query) == (list(people), {})

    named = [
        re.findall(r"<bdi>(.*?)</bdi>", section(page(client, made, others=start), "unchanged"))
        for start in ("0", "2", "4", "x", "1000000000")
    ]
    assert named == [
        list(people[:2]),
        list(people[2:4]),
        list(people[4:]),
        list(people[:2]),
        list(people[:2]),
    ]


def test_it_takes_at_most_twelve_queries_and_no_payload(
    client: Client,
    budget: Budget,
    content: ContentMetadata,
    django_assert_max_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_page, "PAGE", 3)
    monkeypatch.setattr(batch_page, "MAX_FAILED", 2)
    assign(budget, content, ALICE, BOB)
    made = assign(
        budget, content, ALICE, BOB, *[f"{n}@learners.invalid" for n in range(4)], *world.addresses(9)
    )
    world.deliver(limit=30)
    LearnerContentAssignment.objects.filter(learner_email__startswith="learner-").update(learner_state=0)

    with django_assert_max_num_queries(12) as queries:
        text = page(client, made)
    assert figures(text) == {"Notified": 0, "Not notified": 4, "Being notified": 9}
    assert "All 4 in the list" in text
    assert "payload" not in str(queries.captured_queries)


def test_of_another_organisation_or_without_the_role_there_is_no_such_page(
    client: Client, budget: Budget, content: ContentMetadata
) -> None:
    made = assign(budget, content, ALICE)
    strangers = [
        world.given_user(),
        world.given_user(Role.LEARNER, customer=budget.customer),
        world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()),
    ]
    for user in strangers:
        client.force_login(user)
        assert client.get(f"/batches/{made.batch.uuid}/").status_code == 404
    client.force_login(world.given_user(Role.OPERATOR))
    assert client.get(f"/batches/{made.batch.uuid}/").status_code == 200
    assert client.get(f"/batches/{uuid4()}/").status_code == 404
    client.logout()
    assert client.get(f"/batches/{made.batch.uuid}/").headers["Location"].startswith("/sign-in/")
