"""What a long list of keys takes while it is read."""

import json
import tracemalloc
from typing import Any
from uuid import uuid4

from bursary.catalog.http_source import HttpCatalog
from bursary.upstream.client import Client, decoded

MANY = 20_000
BODY = json.dumps(
    {"items_not_included": [{"content_key": f"course-v1:LongX+C{number}+1"} for number in range(MANY)]}
).encode()


class Long(Client):
    """Lists very many keys, and has no records."""

    def post(self, path: str, **how: Any) -> object:
        return decoded(bytearray(BODY), object_hook=how["object_hook"])

    def get(self, path: str, **how: Any) -> object:
        return {"results": []}


def test_of_a_long_list_of_keys_the_keys_alone_are_held() -> None:
    source = HttpCatalog(Long("http://catalog.example"))
    tracemalloc.start()
    try:
        pages = source.pages(uuid4(), size=50)
        first = next(pages)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(first) == 50
    assert 50 + sum(len(page) for page in pages) == MANY
    assert peak < 3.4 * len(BODY)  # it was 3.8 with the bytes beside their text, nine with all of each item
