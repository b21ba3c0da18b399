"""What `make fuzz` changes in the requests that are made up."""

import gc
from itertools import count
from typing import Any
from urllib.parse import urlencode

import schemathesis

# Drawing a request makes many objects and little garbage: looking for it took an eighth of the time.
gc.freeze()
gc.set_threshold(100_000)

_numbers = count()


LONGEST_QUERY = 3000
"""Characters. Web servers refuse a longer address, with 414, before the API sees it."""


@schemathesis.hook
def filter_query(_context: Any, query: Any) -> bool:
    """Leave out a query string that no web server reads."""
    return len(urlencode(query or {}, doseq=True)) <= LONGEST_QUERY


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Give each request a name of its own: what the same name means is in tests/api/test_idempotency.py."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) <= 255:
        case.headers["Idempotency-Key"] = f"{key[:200]}-{next(_numbers)}"
