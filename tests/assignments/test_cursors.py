"""Pages by cursor: a text that is no cursor is the first page."""

import json

import pytest
from django.core.signing import b64_encode
from django.db import transaction

from bursary.assignments.cursors import cursor_page
from bursary.assignments.models import LearnerContentAssignment
from tests.world import addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

TEXTS = [
    *("", "garbage", "é", "[0,1]", "[" * 2500, "null", '{"a":1}'),
    *("[0,1,Infinity]", "[0,1,1e400]", "[0,Infinity,1]", "[0,1e400,1]", "[0,NaN,1]", "[0,1,NaN]"),
    *('[0,"9999-12-31T23:59:59-23:59",1]', '[0,"0001-01-01T00:00:00+14:00",1]', "[0,[1],1]", "[0,{},1]"),
]


@pytest.mark.parametrize("column", ["price_cents", "expires_at", "content_title"])
def test_what_is_no_cursor_breaks_nothing(column: str, subtests: pytest.Subtests) -> None:
    allocate(given_budget(), given_content(), *addresses(3))
    rows = LearnerContentAssignment.objects.all()

    for cursor in (*TEXTS, *(b64_encode(text.encode()).decode() for text in TEXTS)):
        with subtests.test(cursor[:40]), transaction.atomic():
            page = cursor_page(rows, column=column, descending=False, size=2, cursor=cursor)
            assert len(page.pks) <= 2
            assert json.dumps(page.later)
