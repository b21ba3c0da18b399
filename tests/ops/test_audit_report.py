"""`bursary audit_content`: whether the replica agrees with the catalog."""

import json
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from bursary.replica.models import CatalogMembership, ContentMetadata
from tests import world
from tests.world import CATALOG

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = [f"RiversideX+T{number}" for number in range(4)]


def serve(path: Path, *keys: str, title: str = "Tidal Engines") -> None:
    terms = {"content_price": world.PRICE / 100}
    records = [
        {"content_type": "course", "key": key, "title": title, "active": True, "normalized_metadata": terms}
        for key in keys
    ]
    path.write_text("\n".join(map(json.dumps, records)))


@pytest.fixture
def catalog(tmp_path: Path, settings: Settings) -> Path:
    """Return the file of a catalog that was just brought in."""
    settings.CATALOG_URL = f"file://{tmp_path}/"
    world.given_budget()
    file = tmp_path / f"{CATALOG}.jsonl"
    serve(file, *KEYS)
    call_command("refresh_content", stdout=StringIO())
    return file


def run(*flags: str) -> tuple[str, str]:
    out = StringIO()
    try:
        call_command("audit_content", *flags, stdout=out, stderr=StringIO())
    except CommandError as refusal:
        return out.getvalue(), str(refusal)
    return out.getvalue(), ""


def report(*flags: str) -> tuple[dict[str, Any], str]:
    out, why = run("--json", *flags)
    return json.loads(out), why


def test_what_agrees_ends_well(catalog: Path) -> None:
    assert run() == ("4 compared: all agree (0.0 % drift).\n", "")
    assert report("--all")[0]["counts"] == {
        "drifted": 0,
        "missing": 0,
        "unlisted": 0,
        "unknown": 0,
        "unparsable": 0,
    }


def test_drift_is_shown_by_field_and_ends_with_a_refusal_above_the_threshold(catalog: Path) -> None:
    ContentMetadata.objects.filter(content_key=KEYS[0]).update(title="Ours [bold]")

    out, why = run()
    assert "4 compared: 1 drifted (25.0 % drift)." in out
    assert "Ours [bold]" in out
    assert "Tidal Engines" in out
    assert why.startswith("25.0 % drift is more than 0 %. ")

    summary, why = report("--threshold", "25")
    assert (summary["drifted_percent"], summary["threshold_percent"], why) == (25.0, 25.0, "")
    assert summary["found"][0]["differences"] == [
        {"field": "title", "ours": "Ours [bold]", "theirs": "Tidal Engines"}
    ]
    assert report("--threshold", "24.9")[1]


def test_it_writes_nothing(catalog: Path) -> None:
    serve(catalog, *KEYS[1:], "RiversideX+New", title="New")
    before = list(ContentMetadata.objects.order_by("pk").values())

    summary, _why = report("--all")

    assert summary["counts"] == {"drifted": 3, "missing": 1, "unlisted": 0, "unknown": 1, "unparsable": 0}
    assert list(ContentMetadata.objects.order_by("pk").values()) == before


OTHER_CATALOG = uuid4()


def named(*flags: str) -> list[tuple[str, str, str]]:
    found = report(*flags)[0]["found"]
    return sorted((one["catalog_uuid"], one["content_key"], one["finding"]) for one in found)


@pytest.mark.parametrize("everything", [(), ("--all",)], ids=["sample", "all"])
def test_what_one_side_alone_has_in_a_catalog_is_named(catalog: Path, everything: tuple[str, ...]) -> None:
    world.given_budget(catalog_uuid=OTHER_CATALOG)
    other = catalog.with_name(f"{OTHER_CATALOG}.jsonl")
    serve(other, *KEYS)
    call_command("refresh_content", stdout=StringIO())
    assert named(*everything) == []

    serve(catalog, *KEYS[1:], "RiversideX+New")
    lost = CatalogMembership.objects.filter(catalog_uuid=OTHER_CATALOG, content__content_key=KEYS[2])
    lost.delete()

    ours = [(str(CATALOG), "RiversideX+New", "unknown"), (str(CATALOG), KEYS[0], "missing")]
    theirs = [(str(OTHER_CATALOG), KEYS[2], "unknown")]
    assert named(*everything) == sorted(ours + theirs)
    assert named(*everything, "--catalog", str(CATALOG)) == sorted(ours)
    assert named(*everything, "--catalog", str(OTHER_CATALOG)) == theirs
    printed = run(*everything, "--threshold", "100")[0]
    assert {str(CATALOG), str(OTHER_CATALOG)} <= set(printed.split())


def test_a_sample_and_a_catalog_bound_what_is_asked(catalog: Path) -> None:
    assert report("--sample", "2")[0]["looked_at"] == 2
    assert report("--catalog", str(CATALOG))[0]["looked_at"] == 4
    assert report("--catalog", str(uuid4()))[0]["looked_at"] == 0


def test_a_catalog_that_is_away_ends_it_with_a_refusal(catalog: Path) -> None:
    catalog.unlink()

    summary, why = report("--threshold", "100")

    assert list(summary["unavailable"]) == [str(CATALOG)]
    assert why.startswith(f"Catalog {CATALOG}: ")
    assert run()[0] == "Nothing was compared: no answer of 1 catalog.\n"


def test_where_nothing_is_compared_nothing_agrees(catalog: Path) -> None:
    catalog.with_name(f"{OTHER_CATALOG}.jsonl").touch()
    out, why = run("--catalog", str(OTHER_CATALOG))
    assert out == "Nothing was compared.\n"
    assert why.startswith("Nothing was compared: ")

    for rows in (CatalogMembership.objects, ContentMetadata.objects):
        rows.all().delete()
    assert run()[1].startswith("Nothing was compared: ")
    assert run("--all")[0].startswith("Nothing was compared: 4 unknown.\n")


@pytest.mark.parametrize(
    "threshold", ["-1", "101", "100.1", "nan", "much", "1e1", "1_0", "\N{ARABIC-INDIC DIGIT FIVE}"]
)
def test_a_threshold_is_a_share(threshold: str) -> None:
    assert "is not a share from 0 to 100" in run(f"--threshold={threshold}")[1]
