"""Combinations of settings that would do harm are refused, each by its own number."""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from pytest_django import Settings


def ids() -> list[str | None]:
    return [found.id for found in run_checks() if (found.id or "").startswith("bursary.")]


def test_the_defaults_are_fine() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("LEASE", timedelta(seconds=59), "bursary.E001"),
        ("EXECUTOR", "celery", "bursary.E002"),
        ("CATALOG_URL", "https://catalog.example/", "bursary.E003"),
        ("CATALOG_URL", "file:relative", "bursary.E003"),
        ("EMAIL_TIMEOUT", 61, "bursary.E004"),
        ("EMAIL_TIMEOUT", 0, "bursary.E004"),
        ("BASE_URL", "bursary.example.org", "bursary.E005"),
        ("BASE_URL", "ftp://bursary.example.org", "bursary.E005"),
        ("BASE_URL", "https://", "bursary.E005"),
        ("CLOCK", "sundial", "bursary.E007"),
        ("LINK_AGE", timedelta(0), "bursary.E008"),
        ("LINK_AGE", timedelta(days=367), "bursary.E008"),
    ],
)
def test_a_setting_that_would_do_harm_is_refused(
    settings: Settings, setting: str, value: object, expected: str
) -> None:
    setattr(settings, setting, value)

    assert ids() == [expected]
