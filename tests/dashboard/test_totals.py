"""The page of totals, which comes before its sums."""

import html
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bursary.access.models import Role
from bursary.assignments import cancellation, redemption
from bursary.assignments.matching import Verdict
from tests import world

pytestmark = pytest.mark.django_db


def page(client: Client, address: str, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.content.decode()).split())


def test_the_page_of_totals_comes_before_its_sums_and_leads_to_them(client: Client) -> None:
    budget = world.given_budget()
    world.allocate(budget, world.given_content(), "ann@people.example")
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    totals_path, sums_path = "/assignments/totals/", "/assignments/totals/sums/"

    with CaptureQueriesContext(connection) as queries:
        text = page(client, totals_path, status="waiting", budget=str(budget.uuid))
    reads = [one["sql"] for one in queries.captured_queries if "learnercontentassignment" in one["sql"]]
    part = client.get(sums_path, headers={"HX-Request": "true"}).content.decode()

    assert (reads, "$199.00" in text) == ([], False)
    address = f"{sums_path}?status=waiting&budget={budget.uuid}"
    assert f'aria-busy="true" hx-get="{address}"' in text
    assert f'<a class="btn" href="{address}">' in text
    assert "1 assignment · $199.00" in page(client, sums_path)
    assert ("1 assignment · $199.00" in part, "<html" in part) == (True, False)
    mistaken = page(client, totals_path, price_from="x")
    assert ("Price from: Enter a number." in mistaken, "hx-get" in mistaken) == (True, False)


def test_prices_are_added_up_whatever_became_of_it_and_those_of_accepted_ones_are_what_was_spent(
    client: Client,
) -> None:
    budget = world.given_budget()
    done = world.allocate(budget, world.given_content(), world.ALICE, world.BOB)
    accepted, cancelled = done.assignments(Verdict.NEW)
    redemption.begin(accepted, now=world.NOW)
    world.deliver()
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    assert "whatever became of it: of “Accepted” alone, it is what was spent." in page(
        client, "/assignments/totals/"
    )
    assert "2 assignments · $398.00" in page(client, "/assignments/totals/sums/")
    assert "1 assignment · $199.00" in page(client, "/assignments/totals/sums/", status="accepted")
    budget.account.refresh_from_db()
    assert budget.account.spent_cents == 199_00
