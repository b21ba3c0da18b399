"""What several tests of a module look at, made once for it: most of a test's time is its set-up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker


@contextmanager
def made_once(blocker: DjangoDbBlocker) -> Iterator[pytest.MonkeyPatch]:
    """Keep what is written here until the end; what each test adds is undone after it.

    For a fixture of a module, which asks for `django_db_setup` first. Tests share the rows and not the
    instances: each reads its own. Yield patches that last as long.
    """
    with blocker.unblock(), pytest.MonkeyPatch.context() as until_then, undone():
        until_then.setattr(connection, "close", lambda: None)  # after each test, as Django would
        yield until_then


@contextmanager
def undone() -> Iterator[None]:
    """Undo at the end what is written here, as subtests need that change one set-up."""
    outer: Any = transaction.atomic()
    outer._from_testcase = True  # as Django marks those of its test cases: durable ones may be in it
    with outer:
        yield
        transaction.set_rollback(True)
