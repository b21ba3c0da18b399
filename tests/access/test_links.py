"""Signed links: what they say, for how long, and every way in which they are refused."""

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.core.signing import Signer
from pytest_django import Settings

from bursary.access import links
from bursary.access.links import (
    Link,
    LinkExpired,
    LinkForOtherPurpose,
    LinkRefused,
    LinkRevoked,
    LinkTampered,
    LinkTruncated,
    Purpose,
)
from bursary.lib.logs import Formatter, without_tokens

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LINK = Link(UUID("9bc503ea-c87e-4282-94a1-d88ba7211d84"), 2, links.digest_of("alice"), NOW)
DAY = timedelta(days=1)


def read(token: str, *, now: datetime = NOW) -> Link:
    return links.verified(token, purpose=Purpose.ANSWER, now=now)


def test_a_link_says_what_was_put_into_it() -> None:
    assert read(links.token(LINK)) == LINK


def test_a_token_can_stand_in_an_address_as_it_is_and_is_short() -> None:
    token = links.token(LINK)
    assert re.fullmatch(r"[\w.-]+", token)
    assert len(token) < 120


def test_a_link_lives_for_as_long_as_is_set(settings: Settings) -> None:
    settings.LINK_AGE = 3 * DAY
    token = links.token(LINK)
    assert read(token, now=NOW + 3 * DAY - timedelta(seconds=1)) == LINK
    with pytest.raises(LinkExpired) as expired:
        read(token, now=NOW + 3 * DAY)
    assert expired.value.link == LINK


def test_a_token_that_differs_in_any_character_is_refused() -> None:
    token = links.token(LINK)
    for position, character in enumerate(token):
        other = "B" if character != "B" else "C"
        with pytest.raises(LinkTampered):
            read(token[:position] + other + token[position + 1 :])


def test_a_token_that_is_cut_anywhere_is_not_complete() -> None:
    until = replace(LINK, until=NOW + 9 * DAY)
    for token in (links.token(LINK), links.token(until)):
        for length in range(len(token)):
            with pytest.raises(LinkTruncated):
                read(token[:length])


@pytest.mark.parametrize("token", [".", "answer", "a.b.c.d.e.f", "é.\0", "x" * 100_000])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises((LinkTruncated, LinkTampered)):
        read(token)


@pytest.mark.parametrize("more", ["x", ">", "x" * 100_000])
def test_a_token_with_something_behind_it_is_changed(more: str) -> None:
    with pytest.raises(LinkTampered):
        read(links.token(LINK) + more)


def test_a_token_under_another_key_or_for_another_use_of_the_key_is_refused(settings: Settings) -> None:
    said = links.token(LINK).rpartition(".")[0]
    with pytest.raises(LinkTampered):
        read(Signer(salt="something else", sep=".").sign(said))
    token = links.token(LINK)
    settings.SECRET_KEY = "another"
    with pytest.raises(LinkTampered):
        read(token)


@pytest.mark.parametrize("said", ["answer.x", "look.AAAA.1.1.s", "answer.AAAA.1.1.s", "answer.A.1.1.s"])
def test_what_we_signed_and_cannot_read_is_refused(said: str) -> None:
    with pytest.raises(LinkTampered):
        read(Signer(salt="bursary.access.links", sep=".").sign(said))


def test_a_link_serves_its_purpose_alone() -> None:
    with pytest.raises(LinkForOtherPurpose):
        links.verified(links.token(LINK), purpose="another", now=NOW)  # type: ignore[arg-type]  # there is one today


def test_every_refusal_says_why_and_what_next() -> None:
    kinds = LinkRefused.__subclasses__()
    assert set(kinds) == {LinkTruncated, LinkTampered, LinkForOtherPurpose, LinkExpired, LinkRevoked}
    for name in ("reason", "sentence"):
        assert len({str(getattr(kind, name)) for kind in kinds}) == 5
    assert all(kind.sentence and kind.next_step for kind in kinds)


def test_a_digest_is_another_for_other_parts() -> None:
    assert links.digest_of("a", "bc") != links.digest_of("ab", "c")
    assert links.digest_of("a", "b") == links.digest_of("a", "b")


def test_logs_name_no_token() -> None:
    token = links.token(LINK)
    record = logging.LogRecord("django.request", 30, "", 1, "Gone: %s", (f"/a/{token}/",), None)
    assert Formatter("{message}", style="{").format(record) == "Gone: /a/…/"
    assert without_tokens("GET /assignments/1/ and /a/short/") == "GET /assignments/1/ and /a/short/"
