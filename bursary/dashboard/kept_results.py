"""Results in the user's session, each under a name of its own, the latest ones of each kind.

Other tabs have the same session, and may keep a result at the same time. A session is written as a whole: so
it is locked, read anew and written at once, not at the end of the request.
"""

from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.db import transaction

from bursary.lib.locks import for_update

MAX_KEPT = 5
"""Of each kind, in a session."""
BULK_WORK = "bulk-work"
"""The kind of questions and results of work on many assignments, by the token of their address."""
ASSIGNED = "assigned"
"""The kind of sentences about what was assigned, by the batch's uuid."""


def kept(session: SessionBase, *, kind: str, name: str) -> Any:
    """Return what is kept under a name; None for nothing."""
    return session.get(kind, {}).get(name)


def keep(session: SessionBase, *, kind: str, name: str, piece: Any) -> None:
    """Keep a piece under a name, as the latest of its kind."""
    _write(session, kind, name, {name: piece})


def pop(session: SessionBase, *, kind: str, name: str) -> Any:
    """Return what is kept under a name, and keep it no more; None for nothing."""
    found = kept(session, kind=kind, name=name)
    if found is not None:
        _write(session, kind, name, {})
    return found


@transaction.atomic
def _write(session: SessionBase, kind: str, name: str, latest: Mapping[str, Any]) -> None:
    """Put the latest in the place of what has the name; in a session that has ended meanwhile, nothing.

    To write that would be an error, and what the request did is done.
    """
    if not for_update(Session.objects.filter(session_key=session.session_key)).exists():
        return
    stored = type(session)(session.session_key)
    for one in (BULK_WORK, ASSIGNED):
        session[one] = stored.get(one, {})
    others = {other: piece for other, piece in session[kind].items() if other != name}
    session[kind] = dict([*others.items(), *latest.items()][-MAX_KEPT:])
    session.save()
    session.modified = False  # else it would be written again, over what others keep until then
