from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from bursary.catalog.source import CatalogCredentials, CatalogSource, open_source


def test_an_address_of_a_file_opens_that_file(data: Path) -> None:
    source: CatalogSource = open_source((data / "catalog-thin-courses.jsonl").as_uri())
    assert source.name == "folder"
    assert sum(len(page) for page in source.pages(UUID(int=0), size=7)) == 20


def test_an_address_may_be_a_folder_with_blanks_in_its_name(tmp_path: Path) -> None:
    spaced = tmp_path / "my catalogs"
    spaced.mkdir()
    (spaced / f"{UUID(int=0)}.jsonl").write_text(
        '{"content_type": "course", "key": "X+1"}\n', encoding="utf-8"
    )
    source = open_source(f"file://localhost{tmp_path}/my%20catalogs/")
    assert len(source.fetch(UUID(int=0), keys=["X+1"])) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@catalog.example.org/",
        "/srv/courses.jsonl",
        "file:courses.jsonl",
        "file://host/a",
        "",
    ],
)
def test_another_kind_of_address_is_refused_and_its_secrets_are_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"A catalog's address is file:///|An address is") as refused:
        open_source(
            url, credentials=CatalogCredentials("https://lms.example.org", "me", "pass", timedelta(seconds=1))
        )
    assert "secret" not in str(refused.value)
