"""Pages by cursor: a text that is no cursor is the first page."""

import json

import pytest
from django.core.signing import b64_encode
from django.db import transaction

from bursary.assignments.cursors import cursor_page
from bursary.assignments.models import LearnerContentAssignment
from tests.world import addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

TEXTS = ["", "garbage", "é", "[0,1]", "[0,1,1]", "[" * 2500, "null", '{"a":1}']
PLACES = [
    *(
        "1,Infinity",
        "1,1e400",
        "Infinity,1",
        "1e400,1",
        "NaN,1",
        "1,NaN",
        "[1],1",
        "{},1",
        "null,1",
        "1,null",
    ),
    *('"9999-12-31T23:59:59-23:59",1', '"0001-01-01T00:00:00+14:00",1', '"a\\u0000b",1', '"\\ud800",1'),
    *(f"{10**30},1", f"1,{10**30}", f"-1,-{10**30}"),
]
"""A value and a key, of a cursor that is one by its form."""


@pytest.mark.parametrize("column", ["price_cents", "expires_at", "content_title"])
def test_what_is_no_cursor_breaks_nothing(column: str, subtests: pytest.Subtests) -> None:
    allocate(given_budget(), given_content(), *addresses(3))
    rows = LearnerContentAssignment.objects.all()
    texts = [*TEXTS, *(f'[0,{place},"{column}"]' for place in PLACES)]

    for cursor in (*texts, *(b64_encode(text.encode()).decode() for text in texts)):
        with subtests.test(cursor[:40]), transaction.atomic():
            page = cursor_page(rows, column=column, descending=False, size=2, cursor=cursor)
            assert len(page.pks) <= 2
            assert json.dumps(page.later)


def test_a_cursor_of_another_order_is_none_and_the_filter_may_change() -> None:
    allocate(given_budget(), given_content(), *addresses(4))
    rows = LearnerContentAssignment.objects.all()
    first = cursor_page(rows, column="learner_email", descending=False, size=2)

    for column, descending in (("learner_email", True), ("content_title", False)):
        other = cursor_page(rows, column=column, descending=descending, size=2, cursor=first.later)
        assert (other.understood, other.earlier) == (False, "")

    last = rows.latest("learner_email")
    narrower = rows.filter(pk__in=[*first.pks, last.pk])
    following = cursor_page(narrower, column="learner_email", descending=False, size=2, cursor=first.later)
    assert (following.pks, following.later) == ([last.pk], "")
