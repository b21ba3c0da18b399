"""Every database stores a text without NULs and lone surrogates, and with every other character."""

import pytest

from bursary.access.models import User
from bursary.lib.texts import REPLACEMENT, is_line, is_storable, storable, storable_json

KEPT = ["", "plain", "tab\tand line\n", "\x01\x1f\x7f", "Introducción", "\ud7ff\ue000\ufffd\uffff", "\N{OWL}"]


@pytest.mark.parametrize("text", KEPT, ids=ascii)
def test_a_storable_text_stays_as_it_is(text: str) -> None:
    assert is_storable(text)
    assert storable(text) == storable(text, instead="?") == text


@pytest.mark.parametrize("refused", [chr(code) for code in (0, 0xD800, 0xDBFF, 0xDC00, 0xDFFF)], ids=ascii)
@pytest.mark.parametrize("text", KEPT, ids=ascii)
def test_what_databases_refuse_is_taken_out_or_replaced(refused: str, text: str) -> None:
    broken = f"{refused}{text}{refused}{refused}"
    assert not is_storable(broken)
    assert storable(broken) == text
    assert storable(broken, instead=REPLACEMENT) == f"\ufffd{text}\ufffd\ufffd"


@pytest.mark.on_every_engine
@pytest.mark.django_db
@pytest.mark.parametrize("instead", ["", REPLACEMENT])
def test_every_database_stores_a_storable_text(instead: str) -> None:
    text = storable("".join([*KEPT, "\0\ud800\udfff"]), instead=instead)
    user = User.objects.create(username="a", last_name=text)
    user.refresh_from_db()
    assert user.last_name == text


def test_the_texts_in_a_json_value_become_storable_wherever_they_are() -> None:
    value = {"a\0": ["b\ud800", {"c": "\0"}], "whole": 1, "share": 0.5, "none": None, "yes": True, "d": "d"}
    kept = {"whole": 1, "share": 0.5, "none": None, "yes": True, "d": "d"}
    assert storable_json(value) == {"a": ["b", {"c": ""}], **kept}
    assert storable_json(value, instead="?") == {"a?": ["b?", {"c": "?"}], **kept}


@pytest.mark.parametrize(
    "mark", ["\0", "\n", "\r", "\t", "\x1b", "\x1f", "\x7f", "\x9f", "\u2028", "\u2029", "\udfff"]
)
def test_a_line_has_no_control_characters(mark: str) -> None:
    assert not is_line(f"a{mark}b")


@pytest.mark.parametrize("text", ["", " ", "\u00a0\u2003\u3000"])
def test_a_line_shows_something(text: str) -> None:
    assert not is_line(text)


@pytest.mark.parametrize(
    "text", ["a", " a b\u00a0", "~\u00a1", "Introducción", "\u0646\u200c\u0645", "\ud7ff\ue000\N{OWL}"]
)
def test_every_other_text_is_a_line(text: str) -> None:
    assert is_line(text)
