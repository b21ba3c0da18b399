"""The page of a budget: its money, what comes free by week, and what it was spent on."""

import html
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import ALLOCATION_AGE_DAYS, Budget
from bursary.dashboard import budget_pages, charts
from bursary.dashboard.money_bars import money_bar
from tests import world

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]


@pytest.fixture
def budget(client: Client, monkeypatch: pytest.MonkeyPatch) -> Budget:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW)
    budget = world.given_budget(seats=10, name="Languages")
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    return budget


def page(client: Client, budget: Budget, part: str = "") -> str:
    answer: Any = client.get(f"/budgets/{budget.uuid}/{part}")
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.getvalue().decode()).split())


def test_it_shows_what_is_spent_reserved_and_free(client: Client, budget: Budget) -> None:
    Budget.objects.filter(pk=budget.pk).update(reserved_cents=30_000, spent_cents=59_700)

    text = page(client, budget)

    assert f"<code>{budget.uuid}</code>" in text
    for amount in ("$597.00", "$300.00", "$1,093.00", "$1,990.00"):
        assert f"<dd>{amount}</dd>" in text
    assert '<rect class="spent" width="30" height="8"/>' in text
    assert '<rect class="reserved" x="30" width="15" height="8"/>' in text


@pytest.mark.on_every_engine
def test_what_comes_free_is_given_by_week(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(4))
    for row, days in zip(LearnerContentAssignment.objects.order_by("pk"), (1, 2, 8, 200), strict=True):
        until = world.NOW + timedelta(days=days)
        LearnerContentAssignment.objects.filter(pk=row.pk).update(expires_at=until)

    text = page(client, budget)

    assert '2 Mar 2026</th><td class="number">$398.00</td>' in text
    assert '9 Mar 2026</th><td class="number">$199.00</td>' in text
    assert 'All weeks</th><td class="number">$597.00</td>' in text
    assert "$597.00 in these 14 weeks." in text
    assert "$199.00 is reserved for longer." in text.partition("<figure")[0]


def test_the_weeks_reach_to_the_default_deadline_of_what_is_assigned_today() -> None:
    for day in range(7):
        now = world.NOW + timedelta(days=day)
        zone = ZoneInfo("Europe/Madrid")
        starts = charts.week_starts(now, zone=zone, weeks=budget_pages.WEEKS_AHEAD)
        assert charts.end_of(starts) > now + timedelta(days=ALLOCATION_AGE_DAYS)


def test_what_is_reserved_for_longer_alone_is_said_without_a_picture(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(1))
    LearnerContentAssignment.objects.update(expires_at=world.NOW + timedelta(days=200))

    assert "$199.00 is reserved for longer." in page(client, budget)


@pytest.mark.on_every_engine
def test_what_was_spent_is_given_by_course_and_by_learner(client: Client, budget: Budget) -> None:
    tides = world.given_content(title="Tidal Engines")
    world.allocate(budget, tides, "ann@people.example", "ben@people.example", "not-yet@people.example")
    world.given_assignment(budget, world.given_content(title="<b>Art</b>"), address="ann@people.example")
    spent = LearnerContentAssignment.objects.exclude(learner_email="not-yet@people.example")
    spent.update(state=State.ACCEPTED)

    text, labels = page(client, budget, "spent/"), ("Accepted", "Spent")

    cells = (
        "<bdi>{}</bdi></a></th>",
        *(f'<td class="number" data-label="{one}">{{}}</td>' for one in labels),
    )
    row = "".join(cells)
    for name, count, cents in (
        ("Tidal Engines", 2, "$398.00"),
        ("<b>Art</b>", 1, "$199.00"),
        ("ann@<wbr>people.example", 2, "$398.00"),
        ("ben@<wbr>people.example", 1, "$199.00"),
    ):
        assert row.format(name, count, cents) in text
    assert "not-yet@" not in text
    assert "All others" not in text
    part = client.get(f"/budgets/{budget.uuid}/spent/", headers={"HX-Request": "true"}).content.decode()
    assert "<b>Art" not in part
    assert "&lt;b&gt;Art" in part
    assert "<html" not in part
    assert f'href="/budgets/{budget.uuid}/spent/"' in page(client, budget)


@pytest.mark.on_every_engine
def test_beyond_ten_rows_the_rest_is_added_up_and_each_name_leads_to_its_list(
    client: Client, budget: Budget
) -> None:
    Budget.objects.filter(pk=budget.pk).update(limit_cents=13 * 19_900)
    tides = world.given_content(title="Tidal Engines")
    world.allocate(budget, tides, *world.addresses(12))
    LearnerContentAssignment.objects.update(state=State.ACCEPTED)
    run = world.given_assignment(budget, world.given_content(), address="of-a-run@people.example")
    columns = {"state": State.ACCEPTED, "price_cents": 0, "parent_content_key": tides.content_key}
    LearnerContentAssignment.objects.filter(pk=run.pk).update(**columns)
    Budget.objects.filter(pk=budget.pk).update(spent_cents=12 * 19_900)

    text = page(client, budget, "spent/")

    assert text.count('All others</th><td></td><td class="number" data-label="Spent">$398.00</td>') == 1
    links = [html.unescape(link) for link in re.findall(r'<a href="(/assignments/[^"]*)"><bdi>', text)]
    assert len(links) == 12
    for link, count in ((links[0], 12), (links[1], 1), (links[2], 1)):
        assert client.get(link).content.decode().count('name="uuid"') == count


def test_to_others_there_is_no_such_budget(client: Client, budget: Budget) -> None:
    for uuid in (world.given_budget().uuid, uuid4()):
        for part in ("", "spent/"):
            assert client.get(f"/budgets/{uuid}/{part}").status_code == 404
    client.force_login(world.given_user(Role.LEARNER, customer=budget.customer))
    assert client.get(f"/budgets/{budget.uuid}/").status_code == 404
    assert client.get("/budgets/").status_code == 404


def test_it_takes_few_queries(
    client: Client, budget: Budget, django_assert_max_num_queries: MaxQueries
) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(10))

    for part in ("", "spent/"):
        with django_assert_max_num_queries(12):
            page(client, budget, part)


@pytest.mark.parametrize(
    ("limit", "spent", "reserved", "account", "widths"),
    [
        (100, 0, 0, None, (0, 0)),
        (1_000_000, 1, 1, None, (1, 1)),  # something is never drawn as nothing
        (100, 60, 60, None, (50, 50)),  # lowered below what is reserved and spent
        (100, 20, 20, 50, (40, 40)),  # the account has less
        (None, 20, 20, None, (0, 0)),
    ],
)
def test_the_bar_is_never_longer_than_it_is(
    limit: int | None, spent: int, reserved: int, account: int | None, widths: tuple[int, int]
) -> None:
    budget = world.given_budget()
    budget.limit_cents, budget.spent_cents, budget.reserved_cents = limit, spent, reserved
    budget.account.limit_cents, budget.account.spent_cents = account, spent + reserved

    bar = money_bar(budget)

    assert (bar.spent_width, bar.reserved_width) == widths
