"""Results in the user's session, each under its name; the latest of each kind are kept.

Other tabs have the same session, and may write a result at the same time. As a session is written as a whole,
it is locked, read again and written at once, not at the end of the request.
"""

from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.db import transaction

from bursary.lib.locks import for_update

MAX_KEPT = 5
"""Results of each kind that a session keeps."""
BULK_WORK = "bulk-work"
"""The kind of questions and results of bulk work, by the token in their URL."""
ASSIGNED = "assigned"
"""The kind of sentences about an allocation, by the batch's uuid."""


def kept(session: SessionBase, *, kind: str, name: str) -> Any:
    """Return the result under a name; None if there is none."""
    return session.get(kind, {}).get(name)


def keep(session: SessionBase, *, kind: str, name: str, piece: Any) -> None:
    """Store a result under a name, as the latest of its kind."""
    _write(session, kind, name, {name: piece})


def pop(session: SessionBase, *, kind: str, name: str) -> Any:
    """Remove the result under a name, and return it; None if there is none."""
    found = kept(session, kind=kind, name=name)
    if found is not None:
        _write(session, kind, name, {})
    return found


@transaction.atomic
def _write(session: SessionBase, kind: str, name: str, latest: Mapping[str, Any]) -> None:
    """Replace the results under the name. Do nothing if the session has ended meanwhile.

    Writing an ended session raises an error, and the request's work is already done.
    """
    if not for_update(Session.objects.filter(session_key=session.session_key)).exists():
        return
    stored = type(session)(session.session_key)
    for one in (BULK_WORK, ASSIGNED):
        session[one] = stored.get(one, {})
    others = {other: piece for other, piece in session[kind].items() if other != name}
    session[kind] = dict([*others.items(), *latest.items()][-MAX_KEPT:])
    session.save()
    session.modified = False  # otherwise it is written again, over later results of other requests
