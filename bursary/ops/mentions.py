"""Mentions of a person in any text of any table, and their removal.

What has a place of its own is erased by `assignments/erasure.py`. This looks at every column of text and JSON
that any model has, so that a table added later forgets, too.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from bursary.access.anonymisation import placeholder_email
from bursary.access.models import learner_key
from bursary.assignments.learner_identity import Identity
from bursary.lib.batches import keyset_pages

ROWS_PER_QUERY = 500
_ID = "lms_user_id"


def pattern(person: Identity) -> re.Pattern[str]:
    """Return the expression that finds the person's addresses and keys in a text, in either case.

    Not within another address: `ann@x.example` is not in `joann@x.example`, nor in `ann@x.example.org`.
    """
    words = sorted(person.addresses | person.keys, key=len, reverse=True)
    inside = r"[\w.!#$%&*+/=?^`{|}~-]"
    return re.compile(rf"(?<!{inside})(?:{'|'.join(map(re.escape, words))})(?![\w-]|\.\w)", re.IGNORECASE)


def erase(person: Identity) -> int:
    """Replace every mention by a placeholder, and delete sessions with one; return the number of values."""
    erased = _end_sessions(person)
    for model, column in columns():
        clean = _clean_json if is_json(model, column) else _clean_text
        erased += clean(model, column, person)
    for model in _tables():
        if any(one.name == _ID and one.null for one in model._meta.concrete_fields):
            known = model._default_manager.filter(**{f"{_ID}__in": person.lms_user_ids})
            erased += known.update(**{_ID: None})
    return erased


def columns() -> Iterator[tuple[type[models.Model], str]]:
    """Yield every column of text or JSON, but those with fixed choices, keys, and what sessions encode."""
    for model in _tables():
        for column in model._meta.concrete_fields:
            text = isinstance(column, models.CharField | models.TextField | models.JSONField)
            if text and not column.choices and not column.primary_key and model is not Session:
                yield model, column.name


def is_json(model: type[models.Model], column: str) -> bool:
    """Return whether the column is of JSON."""
    return isinstance(model._meta.get_field(column), models.JSONField)


def _tables() -> Iterator[type[models.Model]]:
    for model in apps.get_models(include_auto_created=True):
        if model._meta.managed and not model._meta.proxy:
            yield model


def _clean_text(model: type[models.Model], column: str, person: Identity) -> int:
    mention, erased = pattern(person), 0
    longest: int | None = getattr(model._meta.get_field(column), "max_length", None)
    rows = model._base_manager.filter(_any(column, person.addresses | person.keys)).values_list("pk", column)
    for page in keyset_pages(rows, size=ROWS_PER_QUERY):
        for pk, text in page:
            cleaned = mention.sub(_placeholder, text)[:longest]
            if cleaned != text:
                erased += model._base_manager.filter(pk=pk).update(**{column: cleaned})
    return erased


def _clean_json(model: type[models.Model], column: str, person: Identity) -> int:
    mention, ids = pattern(person), person.lms_user_ids
    plain = person.addresses | person.keys | {f'"{_ID}": {one}' for one in ids}
    words = plain | {json.dumps(word)[1:-1] for word in person.addresses}  # as JSON escapes it
    text = {"as_text": Cast(column, TextField())}
    erased = 0
    rows = model._base_manager.annotate(**text).filter(_any("as_text", words)).values_list("pk", column)
    for page in keyset_pages(rows, size=ROWS_PER_QUERY):
        for pk, value in page:
            cleaned = _without(value, mention, ids)
            if cleaned != value:
                erased += model._base_manager.filter(pk=pk).update(**{column: cleaned})
    return erased


def _any(column: str, words: Any) -> Q:
    condition = Q(pk__in=[])
    for word in sorted(words):
        condition |= Q(**{f"{column}__icontains": word})
    return condition


def _without(value: Any, mention: re.Pattern[str], ids: set[int]) -> Any:
    """Return a JSON value without the mentions, in its keys, too, and without the LMS user ids."""
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
    """Return what stands in place of a mention: another each time, as columns may be unique."""
    return placeholder_email() if "@" in found[0] else learner_key(placeholder_email())


def _end_sessions(person: Identity) -> int:
    """Delete the sessions that mention the person, for example in a message that is not shown yet."""
    mention, mentioning = pattern(person), []
    for session in Session.objects.iterator(chunk_size=ROWS_PER_QUERY):
        decoded = json.dumps(session.get_decoded(), ensure_ascii=False, default=str)
        if mention.search(decoded) or mention.search(session.session_data):
            mentioning.append(session.pk)
    return Session.objects.filter(pk__in=mentioning).delete()[0]
