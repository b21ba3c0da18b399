"""The page of totals, which comes before its sums, and what is added up in them."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import cancellation, redemption
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard import totals
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _on_the_day_of_the_assignments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))


def page(client: Client, address: str, **query: Any) -> str:
    answer: Any = client.get(address, query)
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.getvalue().decode()).split())


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


def test_the_beginning_of_a_page_of_sums_is_sent_before_anything_is_added_up(client: Client) -> None:
    budget = world.given_budget(name="Languages")
    world.allocate(budget, world.given_content(), "ann@people.example")
    LearnerContentAssignment.objects.update(state=State.ACCEPTED)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    pages = {
        "/assignments/totals/sums/": "Totals",
        f"/budgets/{budget.uuid}/spent/": "What Languages was spent on",
    }
    for address, title in pages.items():
        answer: Any = client.get(address)
        pieces = iter(answer.streaming_content)
        begins = next(pieces).decode()
        with CaptureQueriesContext(connection) as queries:
            rest = b"".join(pieces).decode()
        assert begins.startswith("<!doctype html>")
        assert f"<title>{title} · Bursary</title>" in begins
        assert ("</h1>" in begins, "<table" in begins, "<table" in rest) == (True, False, True)
        assert any("SUM(" in one["sql"] for one in queries.captured_queries)
        assert rest.rstrip().endswith("</html>")


def test_where_the_database_fails_amid_a_page_the_page_says_so_and_the_log_has_one_line(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    budget = world.given_budget()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    failures: list[Exception] = [OperationalError("the connection is lost"), ValueError("a fault")]

    def fail(*_args: object, **_more: object) -> None:
        raise failures.pop(0)

    monkeypatch.setattr(totals, "load", fail)

    text = page(client, "/assignments/totals/sums/")
    assert "The database does not answer just now, so the figures are missing." in text
    assert text.endswith("</html>")
    [record] = caplog.records
    assert record.getMessage().endswith(
        "/assignments/totals/sums/ could not be loaded: OperationalError: the connection is lost"
    )
    assert record.exc_info is None
    with pytest.raises(ValueError, match="a fault"):
        page(client, "/assignments/totals/sums/")


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
    spent = page(client, "/assignments/totals/sums/", status="accepted")
    assert "1 assignment · $199.00" in spent
    assert ">By the month in which they were accepted or ended</h2>" in spent
    assert ">By the month in which they were assigned</h2>" in page(client, "/assignments/totals/sums/")
    budget.account.refresh_from_db()
    assert budget.account.spent_cents == 199_00


@pytest.mark.on_every_engine
def test_what_expired_is_added_up_over_all_budgets_and_by_month(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = world.given_budget(name="Languages")
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    other, not_theirs = world.given_budget(name="Other", customer=budget.customer), world.given_budget()
    when = [datetime(2025, 11, 30, hour, tzinfo=UTC) for hour in (22, 23)]  # 23 UTC is December in Madrid
    for number, (one, at) in enumerate([(budget, when[0]), (budget, when[1]), (other, when[1])]):
        row = world.given_assignment(one, world.given_content(), address=f"learner-{number}@people.example")
        LearnerContentAssignment.objects.filter(pk=row.pk).update(state=State.EXPIRED, expired_at=at)
    for one in (budget, not_theirs):
        world.given_assignment(one, world.given_content(), address="waiting@people.example")

    def lines(**query: str) -> list[tuple[str, ...]]:
        text = page(client, "/assignments/totals/sums/", **query)
        found = re.findall(r'<th scope="row">(.*?)</th><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td>', text)
        return [tuple(re.sub("<.*?>", "", cell) for cell in cells) for cells in found]

    expired = {"status": "expired", "ended_from": "2025-10-01", "ended_to": "2025-12-31"}
    name = budget.name
    assert lines(**expired) == [
        *((name, "2", "$398.00"), ("Other", "1", "$199.00")),
        *(("December 2025", "2", "$398.00"), ("November 2025", "1", "$199.00")),
    ]
    assert lines() == [(name, "3", "$597.00"), ("Other", "1", "$199.00"), ("March 2026", "4", "$796.00")]
    assert lines(budget=str(other.uuid)) == [("Other", "1", "$199.00"), ("March 2026", "1", "$199.00")]
    monkeypatch.setattr(totals, "MAX_BUDGETS", 1)
    monkeypatch.setattr(totals, "MAX_MONTHS", 4)
    assert lines(**expired) == [
        *((name, "2", "$398.00"), ("Other budgets", "1", "$199.00")),
        *(("December 2025", "2", "$398.00"), ("Earlier", "1", "$199.00")),
    ]
    assert lines(**expired, price_from="x") == []
    client.force_login(world.given_user(Role.LEARNER, customer=budget.customer))
    for path in ("totals/", "totals/sums/"):
        assert client.get(f"/assignments/{path}").status_code == 404


ENDS = {
    "accepted": {"state": State.ACCEPTED, "accepted_at": datetime(2025, 8, 9, tzinfo=UTC)},
    "declined": {
        "state": State.CANCELLED,
        "learner_state": LearnerState.DECLINED,
        "cancelled_at": datetime(2025, 9, 9, tzinfo=UTC),
    },
    "cancelled": {
        "state": State.CANCELLED,
        "learner_state": LearnerState.NONE,
        "cancelled_at": datetime(2025, 10, 9, tzinfo=UTC),
    },
    "expired": {"state": State.EXPIRED, "expired_at": datetime(2025, 11, 9, tzinfo=UTC)},
    "reversed": {
        "state": State.REVERSED,
        "accepted_at": datetime(2025, 8, 9, tzinfo=UTC),
        "reversed_at": datetime(2025, 12, 9, tzinfo=UTC),
    },
}
MONTHS = ["August 2025", "September 2025", "October 2025", "November 2025", "December 2025"]


@pytest.mark.on_every_engine
def test_the_month_is_that_of_the_end_whichever_status_is_chosen(client: Client) -> None:
    budget = world.given_budget()
    world.allocate(budget, world.given_content(), *world.addresses(len(ENDS) + 1))
    pks = LearnerContentAssignment.objects.order_by("pk").values_list("pk", flat=True)
    for pk, end in zip(pks, ENDS.values(), strict=False):
        LearnerContentAssignment.objects.filter(pk=pk).update(**end)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    def months(**query: str) -> list[str]:
        return re.findall(
            r'<th scope="row">(\w+ 20\d\d)<', page(client, "/assignments/totals/sums/", **query)
        )

    assert [months(status=status) for status in ENDS] == [[month] for month in MONTHS]
    assert months(ended_from="2025-01-01") == MONTHS[::-1]
    assert months() == ["March 2026"]
