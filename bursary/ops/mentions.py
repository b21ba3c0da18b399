"""Mentions of a person in any text of any table, and their removal.

`assignments/erasure.py` erases the columns that hold personal data by design. This module searches every text
and JSON column of every model, so that tables added later are covered, too.
"""

import html
import html.entities
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from django.apps import apps
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from bursary.access import sessions
from bursary.access.anonymisation import placeholder_email
from bursary.access.models import learner_key
from bursary.assignments.learner_identity import Identity
from bursary.lib import mailbox
from bursary.lib.batches import keyset_pages

ROWS_PER_QUERY = 200
_ID = "lms_user_id"
_ENTITIES: dict[str, list[str]] = defaultdict(list)
"""HTML's entity names, by character."""
for _name, _character in html.entities.html5.items():
    if _name.endswith(";") and len(_character) == 1:
        _ENTITIES[_character].append(f"&{_name}")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def pattern(person: Identity) -> re.Pattern[str]:
    """Return the expression that finds the person's addresses and keys in a text, ignoring case.

    It also finds them in full-width letters, and as encoded in URLs (even twice), JSON, HTML and
    quoted-printable mails. It does not match a part of another address: it does not find `ann@x.example` in
    `joann@x.example` or `ann@x.example.org`.
    """
    written = {form for address in person.addresses for form in _as_written(address)}
    words = [re.escape(one) for one in sorted(written | person.keys, key=len, reverse=True)]
    words += sorted({_encoded(address) for address in person.addresses})
    # An address may follow a character that a URL or a mail encodes, except `+`, or JSON's `\n`.
    hidden = r"(?<=%[0-9a-f]{2})(?<!%2b)|(?<=%25[0-9a-f]{2})(?<!%252b)|(?<==[0-9a-f]{2})(?<!=2b)"
    before = rf"(?:(?<![\w.+-])|{hidden}|(?<=\\[nrt]))"
    return re.compile(rf"{before}(?:{'|'.join(words)})(?![\w-]|\.\w)", re.IGNORECASE)


class _Sought(NamedTuple):
    """The patterns to find, made once for all tables: making them takes longer than searching most tables."""

    mention: re.Pattern[str]
    words: Sequence[tuple[str, str]]
    words_in_json: Sequence[tuple[str, str]]
    lms_user_ids: set[int]

    @classmethod
    def of(cls, person: Identity) -> "_Sought":
        words, words_in_json = ([*_words(person, in_json=in_json)] for in_json in (False, True))
        return cls(pattern(person), words, words_in_json, person.lms_user_ids)


def erase(person: Identity) -> int:
    """Replace each mention by a placeholder, and delete sessions with one; return the number of values."""
    sought = _Sought.of(person)
    # A session may mention the person in a message that is not shown yet.
    erased = sessions.delete_all(lambda one: _mentions(one, sought.mention))
    texts: dict[type[models.Model], list[str]] = {}
    for model, column in text_columns():
        texts.setdefault(model, []).append(column)
    for model, named in texts.items():
        erased += _clean(model, named, sought)
    for model in _tables():
        if any(one.name == _ID and one.null for one in model._meta.concrete_fields):
            known = model._default_manager.filter(**{f"{_ID}__in": person.lms_user_ids})
            erased += known.update(**{_ID: None})
    return erased


def _mentions(session: Session, mention: re.Pattern[str]) -> bool:
    decoded = json.dumps(session.get_decoded(), ensure_ascii=False, default=str)
    return bool(mention.search(decoded) or mention.search(session.session_data))


def text_columns() -> Iterator[tuple[type[models.Model], str]]:
    """Yield every text or JSON column, except those with fixed choices, keys, and encoded sessions."""
    for model in _tables():
        for column in model._meta.concrete_fields:
            text = isinstance(column, models.CharField | models.TextField | models.JSONField)
            if text and not column.choices and not column.primary_key and model is not Session:
                yield model, column.name


def is_json(model: type[models.Model], column: str) -> bool:
    """Return whether the column holds JSON."""
    return isinstance(model._meta.get_field(column), models.JSONField)


def _tables() -> Iterator[type[models.Model]]:
    for model in apps.get_models(include_auto_created=True):
        if model._meta.managed and not model._meta.proxy:
            yield model


def _clean(model: type[models.Model], named: list[str], sought: _Sought) -> int:
    """Clean the named columns of a table; each row is read once."""
    if not model._base_manager.exists():
        return 0
    erased, words = 0, {}
    for column in named:
        if is_json(model, column):
            words[f"{column}_as_text"] = sought.words_in_json
        else:
            words[column] = sought.words
    conditions = [Q((f"{text}__{lookup}", word)) for text, each in words.items() for lookup, word in each]
    may_mention = Q(*conditions, _connector=Q.OR)
    as_text = {f"{one}_as_text": Cast(one, TextField()) for one in named if is_json(model, one)}
    rows = model._base_manager.annotate(**as_text).filter(may_mention).values_list("pk", *named)
    for page in keyset_pages(rows, size=ROWS_PER_QUERY):
        for pk, *values in page:
            cleaned = {
                column: _fitting(model, column, _without(value, sought.mention, sought.lms_user_ids))
                for column, value in zip(named, values, strict=True)
            }
            changed = {
                one: cleaned[one] for one, was in zip(named, values, strict=True) if cleaned[one] != was
            }
            if changed:
                model._base_manager.filter(pk=pk).update(**changed)
            erased += len(changed)
    return erased


def _fitting(model: type[models.Model], column: str, value: Any) -> Any:
    longest: int | None = getattr(model._meta.get_field(column), "max_length", None)
    return value[:longest] if isinstance(value, str) else value


def _as_written(text: str) -> set[str]:
    """Return all spellings of a text: plain or full-width, as encoded in a URL, in JSON and in HTML.

    A letter with a mark may be one character or two. Encoded letters do not match in the other case, so that
    each case has a spelling of its own.
    """
    composed = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    written = {form for one in (text, *composed) for form in (one, one.replace("@", "\uff20"))}
    written.add(text.translate(_FULL_WIDTH))
    # Letter by letter, because `upper` turns ß into SS, the letters of another mailbox.
    upper = {"".join(it.upper() if len(it.upper()) == 1 else it for it in one) for one in written}
    cased = written | upper
    encoded = {quote(one, safe=safe) for one in cased for safe in ("", "@", "@+")}
    in_json = {json.dumps(one)[1:-1] for one in cased}
    return written | encoded | in_json | {html.escape(one) for one in written}


def _encoded(address: str) -> str:
    """Return a pattern of the address in which any character may be encoded.

    The encodings are HTML entities, URLs (even twice) and quoted-printable mails, where a line may end
    anywhere.
    """
    ways = []
    for character in mailbox.tidy(address):
        octets = [f"{octet:02x}" for octet in character.encode(errors="surrogatepass")]
        names = "".join(f"|{re.escape(name)}" for name in _ENTITIES.get(character, ()))
        ways.append(
            rf"(?:{re.escape(character)}|&#0*{ord(character)};|&#x0*{ord(character):x};{names}"
            rf"|{''.join(f'%(?:25)*{octet}' for octet in octets)}|{''.join(f'={octet}' for octet in octets)})"
        )
    return r"(?:=\r?\n)?".join(ways)


def _words(person: Identity, *, in_json: bool) -> Iterator[tuple[str, str]]:
    """Yield words with their lookups, so that every mention contains at least one of the words.

    They are few and short, because each is searched for in every row: a local part stands for its addresses,
    the full-width @ for all addresses in full-width letters, a mail's soft line end for addresses that it
    splits. Case is ignored only where necessary: for that, PostgreSQL converts each text for each word.
    """
    breaks = {"=\\n", "=\\r\\n"} if in_json else {"=\n", "=\r\n"}
    full_width = {"\uff20", r"\uff20", *(case(quote("\uff20")) for case in (str.lower, str.upper))}
    ids = {f'"{_ID}": {one}' for one in person.lms_user_ids} if in_json else set()
    yield from (("contains", word) for word in sorted(person.keys | full_width | ids | breaks))
    words: set[str] = set()
    for address in person.addresses:
        local = mailbox.tidy(address).rpartition("@")[0]
        words |= {local, quote(local), html.escape(local), address, json.dumps(address)[1:-1]}
        words |= {quote(quote(local, safe=""), safe=""), *_with_entities(local)}
        words.add("".join(it if it.isalnum() else f"={ord(it):02X}" for it in local))
    shortest: list[str] = []
    for word in sorted(words, key=lambda one: (len(one), one)):
        if not any(known.lower() in word.lower() for known in shortest):
            shortest.append(word)
            yield "icontains", word


def _with_entities(local: str) -> Iterator[str]:
    """Yield a local part with its marks, or all characters, as HTML entities, one kind at a time."""
    for every in (False, True):
        for number in ("&#{};", "&#x{:x};"):
            yield "".join(number.format(ord(it)) if every or not it.isalnum() else it for it in local)
    yield "".join(_ENTITIES[it][0] if it in _ENTITIES else it for it in local)


def _without(value: Any, mention: re.Pattern[str], ids: set[int]) -> Any:
    """Return a JSON value without the mentions, also in its keys, and without the LMS user ids."""
    if isinstance(value, str):
        return mention.sub(_placeholder, value)
    if isinstance(value, list):
        return [_without(one, mention, ids) for one in value]
    if isinstance(value, dict):
        return {
            mention.sub(_placeholder, name): None
            if name == _ID and isinstance(one, int) and one in ids
            else _without(one, mention, ids)
            for name, one in value.items()
        }
    return value


def _placeholder(found: re.Match[str]) -> str:
    """Return a placeholder for a mention: a new one each time, as columns may be unique."""
    is_key = re.fullmatch("[0-9a-f]{64}", found[0], re.IGNORECASE)
    return learner_key(placeholder_email()) if is_key else placeholder_email()
