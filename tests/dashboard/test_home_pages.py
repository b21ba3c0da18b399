"""Budgets and notices: nothing is cut off without a way to the rest."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role
from bursary.budgets.models import Budget
from tests import world

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]


def page(client: Client, address: str = "/budgets/", **query: str | int) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_every_budget_is_on_one_of_the_pages(
    client: Client, django_assert_max_num_queries: MaxQueries
) -> None:
    customer = world.given_customer()
    for number in range(120):
        world.given_budget(customer=customer, name=f"Budget {number:03}")
    Budget.objects.filter(name="Budget 007").update(retired_at=world.NOW)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer))

    seen = []
    for number in (1, 2, 3):
        with django_assert_max_num_queries(10):
            html = page(client, page=number)
        assert f"Page {number} of 3, 119 in all" in html
        assert ('href="?page=2" rel="next"' in html) == (number == 1)
        assert ('href="?page=2" rel="prev"' in html) == (number == 3)
        seen += re.findall(r"<a [^>]*><bdi>(Budget \d+)", html)

    assert seen == [f"Budget {number:03}" for number in range(120) if number != 7]
    assert "Page 1 of 3" in page(client)


def test_a_page_that_is_not_there_is_the_nearest_one(client: Client) -> None:
    customer = world.given_customer()
    for _ in range(51):
        world.given_budget(customer=customer)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer))

    for asked, shown in (("99", 2), ("0", 2), ("-1", 2), ("soon", 1), ("", 1), ("\0", 1)):
        assert f"Page {shown} of 2" in page(client, page=asked)


def test_fewer_budgets_than_a_page_has_are_shown_without_pages(client: Client) -> None:
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=world.given_budget().customer))

    assert "Page 1 of" not in page(client)


def test_every_notice_is_on_one_of_the_pages(
    client: Client, django_assert_max_num_queries: MaxQueries
) -> None:
    budget, now = world.given_budget(), timezone.now()
    for number in range(12):
        content = world.given_content(title=f"Course {number:02}")
        world.given_assignment(budget, content, now=now)
        world.change_content(content, now=now, enroll_by=now + timedelta(hours=1))
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    with django_assert_max_num_queries(12):
        html = page(client, "/")

    assert "5 more</summary>" in html
    shown, folded = (re.findall(r"<bdi>(Course \d+)</bdi>", part) for part in html.split("<details", 1))
    assert len(shown) == 8
    assert sorted(shown + folded) == [f"Course {number:02}" for number in range(12)]
