"""Django's sessions in its own table, read by a prepared statement."""

from collections.abc import Callable

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from bursary.lib.batches import chunks
from bursary.lib.prepared import Parameter, PreparedSelect

SESSIONS_AT_ONCE = 500


@PreparedSelect
def _sessions() -> QuerySet[Session]:
    """Return the session with this key, unless it has expired."""
    field = Session._meta.get_field
    key, now = Parameter("key", field("session_key")), Parameter("now", field("expire_date"))
    return Session.objects.filter(session_key=key, expire_date__gt=now)


def delete_all(matches: Callable[[Session], bool]) -> int:
    """Delete the sessions that match, in chunks; return their number.

    Reads every session, because only its data names its user.
    """
    found = [one.pk for one in Session.objects.iterator(chunk_size=SESSIONS_AT_ONCE) if matches(one)]
    for chunk in chunks(found, SESSIONS_AT_ONCE):
        Session.objects.filter(pk__in=chunk).delete()
    return len(found)


class SessionStore(db.SessionStore):
    """Django's database store. The class's name is part of the salt that signs the data."""

    def __init__(self, session_key: str | None = None) -> None:
        # A quoted cookie may have any character, even a NUL, for which PostgreSQL raises an error.
        may_be_one = session_key and session_key.isascii() and session_key.isalnum()
        super().__init__(session_key if may_be_one else None)

    def _get_session_from_db(self) -> Session | None:
        found: Session | None = _sessions.first(key=self.session_key, now=timezone.now())
        if found is None:
            self._session_key = None
        return found
