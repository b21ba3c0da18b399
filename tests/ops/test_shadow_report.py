"""`bursary shadow_report`: whether the replica may be switched to."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bursary.replica.models import ShadowDifference, ShadowTally
from tests.world import CATALOG, NOW

pytestmark = pytest.mark.django_db(transaction=True)


def given_comparisons(count: int = 100, *, standing: int = 0, healed: int = 0, unrecorded: int = 0) -> None:
    ShadowTally.objects.create(
        catalog_uuid=CATALOG,
        since=NOW,
        last_at=NOW,
        compared=count,
        fields_compared=9 * count,
        unrecorded=unrecorded,
    )
    ShadowDifference.objects.bulk_create(
        ShadowDifference(
            catalog_uuid=CATALOG,
            content_key=f"RiversideX+T{number}",
            field="title",
            upstream_value="Tides",
            replica_value="Tide",
            first_seen=NOW,
            last_seen=NOW,
            healed_at=None if number < standing else NOW,
        )
        for number in range(standing + healed)
    )


def run(*arguments: str, refused: str = "") -> dict[str, Any]:
    out = StringIO()
    if refused:
        with pytest.raises(CommandError, match=refused):
            call_command("shadow_report", "--json", *arguments, stdout=out)
    else:
        call_command("shadow_report", "--json", *arguments, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_zero_of_many_is_good() -> None:
    given_comparisons(100, healed=2)

    answer = run()

    assert (answer["standing"], answer["compared"], answer["healed"]) == (0, 100, 2)


def test_nothing_compared_is_no_zero() -> None:
    assert run(refused="Nothing was compared")["compared"] == 0


def test_what_stands_is_named_and_refused_beyond_the_threshold() -> None:
    given_comparisons(standing=2)

    [first, _second] = run(refused="does not agree")["differences"]
    assert (first["content_key"], first["field"]) == ("RiversideX+T0", "title")
    assert (first["upstream"], first["replica"], first["times"]) == ("Tides", "Tide", 1)
    assert run("--threshold", "2")["standing"] == 2
    run("--threshold", "1", refused="does not agree")


def test_differences_without_room_count_too() -> None:
    given_comparisons(unrecorded=1)

    run(refused="does not agree")


def test_a_report_names_a_hundred_and_counts_all() -> None:
    given_comparisons(standing=150)

    answer = run(refused="does not agree")

    assert (len(answer["differences"]), answer["standing"]) == (100, 150)


def test_a_reset_counts_anew() -> None:
    given_comparisons(standing=2)

    assert run("--reset") == {"reset": True}
    assert not ShadowDifference.objects.exists()
    assert run(refused="Nothing was compared")["since"] is None


def test_the_text_has_a_line_for_each_difference() -> None:
    given_comparisons(standing=1)
    out = StringIO()

    call_command("shadow_report", "--threshold", "5", stdout=out)

    head, line = out.getvalue().splitlines()
    assert head.startswith("1 differences in 100 comparisons of 900 fields")
    assert line.startswith("RiversideX+T0  title: upstream 'Tides', replica 'Tide'")
