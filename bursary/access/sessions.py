"""Sessions in Django's table, as Django keeps them, read by a statement that is prepared."""

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from bursary.lib.prepared import PreparedSelect, Slot


@PreparedSelect
def _sessions() -> QuerySet[Session]:
    """Return the session with the key of a slot, unless it has expired."""
    field = Session._meta.get_field
    key, now = Slot("key", field("session_key")), Slot("now", field("expire_date"))
    return Session.objects.filter(session_key=key, expire_date__gt=now)


class SessionStore(db.SessionStore):
    """Django's store in the database. Its name is part of the key that signs what is stored."""

    def __init__(self, session_key: str | None = None) -> None:
        # A quoted cookie may hold any character: a NUL, too, which PostgreSQL refuses with an error.
        may_be_one = session_key and session_key.isascii() and session_key.isalnum()
        super().__init__(session_key if may_be_one else None)

    def _get_session_from_db(self) -> Session | None:
        found: Session | None = _sessions.first(key=self.session_key, now=timezone.now())
        if found is None:
            self._session_key = None
        return found
