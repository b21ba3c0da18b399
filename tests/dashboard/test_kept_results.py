"""Results in a session that several tabs have: each request reads it, and writes it as a whole at its end."""

from functools import partial

import pytest
from django.contrib.sessions.backends.base import SessionBase

from bursary.access.sessions import SessionStore
from bursary.dashboard import kept_results
from bursary.dashboard.kept_results import ASSIGNED, BULK_WORK
from tests.together import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key() -> str:
    """The key of a stored session."""
    session = SessionStore()
    session["user"] = "ada"
    session.save()
    return str(session.session_key)


def end(session: SessionBase) -> None:
    """End a request, as the middleware does."""
    if session.modified:
        session.save()


def names(key: str, kind: str) -> set[str]:
    return set(SessionStore(key).get(kind, {}))


def test_what_several_requests_keep_before_any_ends_is_all_kept(key: str) -> None:
    tabs = SessionStore(key), SessionStore(key), SessionStore(key)
    for tab in tabs:
        assert tab["user"] == "ada"
    kept_results.keep(tabs[0], kind=BULK_WORK, name="one", piece=1)
    kept_results.keep(tabs[1], kind=BULK_WORK, name="two", piece=2)
    kept_results.keep(tabs[2], kind=ASSIGNED, name="three", piece=3)
    for tab in tabs:
        end(tab)

    assert (names(key, BULK_WORK), names(key, ASSIGNED)) == ({"one", "two"}, {"three"})
    assert kept_results.pop(tabs[2], kind=ASSIGNED, name="three") == 3
    end(tabs[2])
    assert (names(key, BULK_WORK), names(key, ASSIGNED)) == ({"one", "two"}, set())
    assert SessionStore(key)["user"] == "ada"


@pytest.mark.on_every_engine
def test_what_many_requests_keep_at_the_same_moment_is_all_kept(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_results, "MAX_KEPT", 24)

    def request(name: str) -> None:
        session = SessionStore(key)
        kept_results.keep(session, kind=BULK_WORK, name=name, piece=[])
        end(session)

    for number in range(4):
        together([partial(request, f"{number} {tab}") for tab in range(6)])
    assert len(names(key, BULK_WORK)) == 24


def test_in_a_session_that_has_ended_nothing_is_kept_and_nothing_fails(key: str) -> None:
    session = SessionStore(key)
    assert session["user"] == "ada"
    SessionStore(key).flush()

    kept_results.keep(session, kind=BULK_WORK, name="one", piece=1)
    end(session)

    assert not SessionStore().exists(key)
