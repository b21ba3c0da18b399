"""Addresses that a client refuses when it is made."""

import pytest

from bursary.upstream import client as http
from bursary.upstream.client import Client


@pytest.mark.parametrize(
    "url",
    ["ftp://host/", "https://", "https://me:secret@host/", "https://host/?a=secret", "https://host/#secret"],
)
def test_another_kind_of_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="An address") as refused:
        Client(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://256.1.1.1", "http://xn--ÿ.example"])
def test_an_address_that_no_call_can_use_is_refused_when_it_is_configured(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        http.web_address(url)
