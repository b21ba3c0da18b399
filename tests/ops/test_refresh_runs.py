"""`bursary refresh_content`: the replica is brought up to date, a catalog at a time."""

import json
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from bursary.replica.models import CatalogMembership, ContentMetadata, FormerContentKey
from tests import world

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = UUID("00000000-0000-4000-8000-000000000001")
SECOND = UUID("00000000-0000-4000-8000-000000000002")


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.CATALOG_URL = f"file://{tmp_path}/"
    return tmp_path


def given_catalog(folder: Path, uuid: UUID, *, records: slice, more: str = "") -> None:
    sample = Path(__file__).parents[1] / "data" / "catalog-courses.jsonl"
    lines = sample.read_text(encoding="utf-8").splitlines(keepends=True)[records]
    (folder / f"{uuid}.jsonl").write_text("".join(lines) + more, encoding="utf-8")


def run(stdout: StringIO | None = None, **options: Any) -> dict[str, Any]:
    said = stdout or StringIO()
    call_command("refresh_content", json=True, stdout=said, **options)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def test_the_catalogs_of_all_budgets_are_refreshed(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 2))
    given_catalog(folder, SECOND, records=slice(2, 5))
    world.given_budget(catalog_uuid=FIRST)
    world.given_budget(catalog_uuid=FIRST)
    world.given_budget(catalog_uuid=SECOND)

    answer = run()

    assert [(one["catalog_uuid"], one["records"]) for one in answer["catalogs"]] == [
        (str(FIRST), 2),
        (str(SECOND), 3),
    ]
    assert ContentMetadata.objects.filter(content_type="course").count() == 5


def test_one_catalog_can_be_named(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 1))
    world.given_budget(catalog_uuid=SECOND)

    assert [one["catalog_uuid"] for one in run(catalog=[FIRST])["catalogs"]] == [str(FIRST)]


def test_a_dry_run_says_what_would_come_in_and_writes_nothing(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 2))

    answer = run(catalog=[FIRST], dry_run=True)

    assert answer["dry_run"] is True
    assert answer["catalogs"][0]["created"] > 0
    assert not ContentMetadata.objects.exists()


def test_a_record_that_cannot_be_used_is_reported_and_the_rest_comes_in(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 2), more="{broken\n")
    warned = StringIO()

    answer = run(catalog=[FIRST], stderr=warned)

    assert answer["catalogs"][0]["unparsable_total"] == 1
    assert "could not use 1 record, such as" in warned.getvalue()
    assert ContentMetadata.objects.filter(content_type="course").count() == 2


def test_a_catalog_that_does_not_answer_fails_the_run_after_the_others_were_done(folder: Path) -> None:
    given_catalog(folder, SECOND, records=slice(0, 2))
    said = StringIO()

    with pytest.raises(CommandError, match="cannot be read"):
        run(said, catalog=[FIRST, SECOND])

    first, second = json.loads(said.getvalue())["catalogs"]
    assert "cannot be read" in first["unavailable"]
    assert (second["unavailable"], second["records"]) == (None, 2)

    in_words = StringIO()
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("refresh_content", catalog=[FIRST], stdout=in_words)
    assert in_words.getvalue() == ""


def test_a_file_that_is_missing_is_to_be_put_there_and_another_catalog_to_be_waited_for(
    folder: Path, settings: Settings
) -> None:
    def advice() -> str:
        with pytest.raises(CommandError) as refused:
            run(catalog=[FIRST])
        return str(refused.value)

    before = f"Catalog {FIRST}: The catalog's file {folder}/{FIRST}.jsonl cannot be read: "
    repair = "Put the file there, readable, then run this again."
    assert advice() == f"{before}No such file or directory. There is no content yet. {repair}"
    given_catalog(folder, FIRST, records=slice(0, 2))
    run(catalog=[FIRST])
    (folder / f"{FIRST}.jsonl").unlink()
    assert advice() == f"{before}No such file or directory. Content stays as it was. {repair}"
    settings.CATALOG_URL, settings.OAUTH_URL = "http://127.0.0.1:1/", "http://127.0.0.1:1/token"
    settings.OAUTH_CLIENT_ID = settings.OAUTH_CLIENT_SECRET = "bursary"
    assert advice().endswith(" Content stays as it was. Try again later.")


def test_what_is_asked_for_by_key_and_is_not_there_is_said_and_noted(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 2))
    run(catalog=[FIRST])
    held = CatalogMembership.objects.order_by("pk").values_list("content__content_key", flat=True)[0]
    given_catalog(folder, FIRST, records=slice(2, 5))
    said = StringIO()

    assert run(key=[held], dry_run=True)["catalogs"][0]["unanswered"] == 1
    assert not CatalogMembership.objects.exclude(missing_since=None).exists()
    with pytest.raises(CommandError) as refused:
        call_command("refresh_content", key=[held, "NobodyX+N1"], catalog=[FIRST], stdout=said)

    assert "1 not there when asked for" in said.getvalue()
    assert (str(refused.value), refused.value.returncode) == ("No catalog has NobodyX+N1.", 1)
    missing = CatalogMembership.objects.exclude(missing_since=None)
    assert [one.content.content_key for one in missing.select_related("content")] == [held]


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_unknown_key_alone_is_refused_without_a_count_of_records(folder: Path, dry_run: bool) -> None:
    given_catalog(folder, FIRST, records=slice(0, 2))
    said = StringIO()

    with pytest.raises(CommandError, match=r"^No catalog has NobodyX\+N1\.$"):
        call_command("refresh_content", key=["NobodyX+N1"], catalog=[FIRST], dry_run=dry_run, stdout=said)

    assert said.getvalue() == ""


def test_the_known_keys_are_refreshed_before_the_unknown_ones_are_refused(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 2))
    run(catalog=[FIRST])
    known = ContentMetadata.objects.filter(content_type="course").earliest("pk")
    ContentMetadata.objects.filter(pk=known.pk).update(title="Altered")
    said = StringIO()

    with pytest.raises(CommandError, match=r"^No catalog has NobodyX\+N1\.$"):
        run(said, key=["NobodyX+N1", known.content_key])

    assert json.loads(said.getvalue())["unknown"] == ["NobodyX+N1"]
    assert ContentMetadata.objects.get(pk=known.pk).title == known.title


def test_a_key_with_an_unusable_record_is_warned_about_and_not_unknown(folder: Path) -> None:
    unusable = {"content_type": "podcast", "key": "GlobeX+U1"}
    given_catalog(folder, FIRST, records=slice(0, 1), more=json.dumps(unusable))
    warned = StringIO()

    for _time in range(2):
        assert run(key=["GlobeX+U1"], catalog=[FIRST], stderr=warned)["unknown"] == []

    assert warned.getvalue().count("could not use 1 record, such as GlobeX+U1: ") == 2


def test_a_former_key_and_a_new_one_in_a_dry_run_are_not_unknown(folder: Path) -> None:
    given_catalog(folder, FIRST, records=slice(0, 1))
    run(catalog=[FIRST])
    known = ContentMetadata.objects.get(content_type="course")
    FormerContentKey.objects.create(former_key="FormerX+F1", content_key=known.content_key)
    assert run(key=["FormerX+F1"])["unknown"] == []
    assert run(key=[known.content_key], dry_run=True)["unknown"] == []

    given_catalog(folder, FIRST, records=slice(0, 2))
    assert run(key=["GlobeX+B114"], catalog=[FIRST], dry_run=True)["catalogs"][0]["records"] == 1


@pytest.mark.parametrize("option", [{"catalog": [FIRST]}, {"accept_drop": True}, {"anew": True}])
def test_what_is_due_goes_without_what_is_for_listings(option: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="--stale goes without") as refused:
        run(stale=True, **option)

    assert refused.value.returncode == 2


def test_without_any_budget_there_is_nothing_to_do() -> None:
    said = StringIO()

    call_command("refresh_content", stdout=said)

    assert said.getvalue() == "No budget names a catalog: there is nothing to refresh.\n"
