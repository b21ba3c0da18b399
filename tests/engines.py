"""Which tests of a file a server runs, by their marks and names. `tests/conftest.py` lists the files."""

import re
from collections.abc import Iterable

import pytest

# How many queries there are for many rows and for few is the same on both engines.
COUNTS_QUERIES = re.compile(
    "as_many_queries|the_same_queries|the_queries_do_not_grow"
    "|takes_(three|five|eight|ten|eleven|fourteen)_queries"
)


def is_run(name: str, marks: Iterable[pytest.Mark], *, in_full: bool) -> bool:
    """Return whether servers run a test; of a file that they do not run in full, those marked for them."""
    marked = {mark.name for mark in marks}
    if "sqlite_only" in marked or COUNTS_QUERIES.search(name):
        return False
    return in_full or bool(marked & {"on_every_engine", "needs_row_locks", "only_on"})
