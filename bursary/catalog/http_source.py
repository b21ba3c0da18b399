"""enterprise-catalog over HTTP.

Statements about its behaviour were observed on a running enterprise-catalog.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain
from time import monotonic
from typing import Final
from urllib.parse import quote
from uuid import UUID

from bursary.catalog import parser
from bursary.catalog.records import CatalogUnavailable, KeysToSkip, Unfetched
from bursary.catalog.values import is_key
from bursary.lib.batches import Halving, chunks
from bursary.upstream.client import Client
from bursary.upstream.errors import (
    Outage,
    UnreadableAnswer,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)

MAX_KEYS = 50  # in one request; upstream refuses more than 100, and a record may have 1 MB
KEYS_AT_ONCE = 500  # passed to `skip`
MAX_QUERY = 3_000  # characters; web servers commonly refuse request lines beyond 4,094
MAX_PARTS = 50  # requests to find the bad record of a failed request: no more than it has keys
FAULTS_BEFORE_OUTAGE = 14  # parts with errors, and none without: both halves, all quarters and all eighths
SILENCES_BEFORE_OUTAGE = 2  # parts without any answer: both halves
FIRST_SHARE = 0.75  # of the time, for a request of several keys; the rest is for its parts
MIN_SECONDS = 0.05  # for a part; with less time, it would be late even if upstream is healthy
MAX_SECONDS = 30.0  # for one request and its parts, if the caller sets no limit

_OUTAGES = {Outage.CONNECTION_FAILED, Outage.TOO_MANY_REQUESTS, Outage.CIRCUIT_OPEN}
_ADVICE = {
    "credentials_refused": "The token endpoint does not know us: check the client id and its secret.",
    "unauthorized": "enterprise-catalog does not accept our token: check that it trusts the token endpoint.",
    "forbidden": "enterprise-catalog forbids reading this catalog: give our user there the operator's role.",
    "not_found": "enterprise-catalog does not know this catalog: check the budget's catalog and the address.",
    "redirected": "enterprise-catalog redirects: check the address, and whether it begins with https.",
}


class HttpCatalog:
    """enterprise-catalog. Shared by threads.

    A listing is complete, or it raises: for each listed key there is a record or an Unfetched.
    """

    name: Final = "enterprise-catalog"

    def __init__(self, remote: Client) -> None:
        self.remote = remote

    def pages(
        self, catalog_uuid: UUID, *, size: int, skip: KeysToSkip | None = None
    ) -> Iterator[Sequence[object]]:
        """Stream the listing in no particular order; see `CatalogSource`.

        Keys are listed by a request for the difference to an empty catalog. Upstream's paged listing leaves
        out inactive courses, and has no order, so that its pages overlap and miss records.
        """
        if size < 1:
            raise ValueError("A page holds at least one record.")
        return self._pages(catalog_uuid, size, skip)

    def _pages(self, catalog_uuid: UUID, size: int, skip: KeysToSkip | None) -> Iterator[Sequence[object]]:
        keys, page = self._listed(catalog_uuid)
        wanted = _not_skipped(keys, skip) if skip else keys
        for number, some in enumerate(_requests(wanted, limit=min(size, MAX_KEYS))):
            page += self._records(catalog_uuid, some, until=None, others_answered=number > 0)
            page += _not_served(some, page)
            yield from chunks(page, size)
            page = []
        yield from chunks(page, size)

    def fetch(
        self, catalog_uuid: UUID, *, keys: Sequence[str], timeout: timedelta | None = None
    ) -> Sequence[object]:
        """Return the records with any of the keys, and those that upstream adds; see `CatalogSource`."""
        until = None if timeout is None else monotonic() + timeout.total_seconds()
        found: list[object] = []
        requests = list(_requests(dict.fromkeys(filter(is_key, keys)), limit=MAX_KEYS))
        for number, some in enumerate(requests):
            try:
                found += self._records(catalog_uuid, some, until=until, others_answered=number > 0)
            except CatalogUnavailable as outage:
                if not number:
                    raise
                rest = chain.from_iterable(requests[number:])
                return found + [Unfetched(key, "upstream_error", str(outage)) for key in rest]
        return found

    def _listed(self, catalog_uuid: UUID) -> tuple[list[str], list[object]]:
        """Return the keys that the catalog lists, and an Unfetched for each entry without a usable key."""
        try:
            answer = self.remote.post(
                f"/api/v1/enterprise-catalogs/{catalog_uuid}/generate_diff",
                json={"content_keys": []},
                idempotent=True,
                # Only the key of each item is kept: there may be a hundred thousand items.
                object_hook=lambda item: item.get("content_key", item),
            )
        except UpstreamError as failure:
            raise _unavailable(failure) from failure
        listed = answer.get("items_not_included") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise CatalogUnavailable("enterprise-catalog's list of keys cannot be read: is this its address?")
        unusable: list[object] = [
            Unfetched("", "key_unusable", f"Entry {position} of the listing has no usable key.")
            for position, key in enumerate(listed, start=1)
            if not is_key(key)
        ]
        return list(dict.fromkeys(filter(is_key, listed))), unusable

    def _records(
        self, catalog_uuid: UUID, keys: Sequence[str], *, until: float | None, others_answered: bool
    ) -> list[object]:
        """Return upstream's records for the keys of one request, with an Unfetched for each key that fails.

        If the request fails, its keys are halved until a failing key is alone. The parts share the remaining
        time. Keys without an answer when the time or `MAX_PARTS` is used up become Unfetched as well. If no
        part is answered, and no other request of the caller was (`others_answered`), raises
        CatalogUnavailable.
        """
        ends = monotonic() + MAX_SECONDS if until is None else until
        found: list[object] = []
        first = FIRST_SHARE if len(keys) > 1 else 1.0
        answered, parts = False, Halving(keys)
        for number, part in enumerate(parts):
            left = max(ends - monotonic(), 0.0)
            share = left / (len(parts.waiting) + 1) if number else left * first
            if number > MAX_PARTS or (number and share < MIN_SECONDS):
                break
            try:
                found += self._ask(catalog_uuid, part, timeout=share, bisecting=number > 0)
                answered = True
            except UpstreamError as error:
                failure = error
                large = error.reason == "too_large"
                answered |= large
                if not answered and (_is_outage(error) or number >= _parts_before_outage(error)):
                    raise _unavailable(error) from error
                if _is_outage(error):
                    break
                if not parts.halve(part):
                    found.append(Unfetched(part[0], "too_large" if large else "upstream_error", str(error)))
        if not answered and not others_answered:
            raise _unavailable(failure)
        rest = "Records asked for with it failed; which, is not known yet."
        return found + [Unfetched(key, "upstream_error", rest) for part in parts.waiting for key in part]

    def _ask(
        self, catalog_uuid: UUID, keys: Sequence[str], *, timeout: float, bisecting: bool
    ) -> list[object]:
        answer = self.remote.get(
            f"/api/v2/enterprise-catalogs/{catalog_uuid}/get_content_metadata/",
            params=[*(("content_keys", key) for key in keys), ("traverse_pagination", "1")],
            timeout=timedelta(seconds=timeout),
            bisecting=bisecting,
        )
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(results, list):
            raise UnreadableAnswer("not_json", "The answer has no list of results.")
        if answer.get("next"):
            raise UnreadableAnswer("not_json", "The answer is only a part.")
        return results


def _is_outage(failure: UpstreamError) -> bool:
    """Return whether a request for fewer keys would fail as well."""
    if isinstance(failure, UpstreamUnavailable):
        return failure.outage in _OUTAGES
    return failure.reason in _ADVICE


def _parts_before_outage(failure: UpstreamError) -> int:
    silent = isinstance(failure, UpstreamUnavailable) and failure.outage is not Outage.SERVER_ERROR
    return SILENCES_BEFORE_OUTAGE if silent else FAULTS_BEFORE_OUTAGE


def _unavailable(failure: UpstreamError) -> CatalogUnavailable:
    if isinstance(failure, UpstreamRefused):
        advice = _ADVICE.get(failure.reason, "enterprise-catalog refuses the question.")
        return CatalogUnavailable(f"{advice} {failure}")
    return CatalogUnavailable(f"enterprise-catalog is unavailable. {failure}")


def _not_skipped(keys: Sequence[str], skip: KeysToSkip) -> Iterator[str]:
    for some in chunks(keys, KEYS_AT_ONCE):
        skipped = skip(some)
        yield from (key for key in some if key not in skipped)


def _requests(keys: Iterable[str], *, limit: int) -> Iterator[list[str]]:
    """Split keys into requests, by their number and by the length of the query string."""
    some: list[str] = []
    length = 0
    for key in keys:
        longer = len("content_keys=&") + len(quote(key, safe=""))
        if some and (len(some) == limit or length + longer > MAX_QUERY):
            yield some
            some, length = [], 0
        some.append(key)
        length += longer
    if some:
        yield some


def _not_served(keys: Sequence[str], answer: Sequence[object]) -> list[object]:
    """Return an Unfetched for each requested key that no element of the answer has."""
    met: set[object] = set()
    for element in answer:
        if isinstance(element, Unfetched):
            met.add(element.content_key)
        elif isinstance(element, dict):
            met.update(parser.content_keys(element))
            met.update(value for value in (element.get("key"), element.get("uuid")) if isinstance(value, str))
    missing = [key for key in keys if key not in met and key.lower() not in met]
    return [Unfetched(key, "not_served", "It is listed, and nothing came for its key.") for key in missing]
