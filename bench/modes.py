"""The replica against fetch-and-cache, the trade-off of record 0023: `python -m bench.modes [--out FILE]`.

The application has both, as read modes. A PostgreSQL of its own is started in a temporary folder, and a
catalog on loopback, in a process of its own, which answers at once or after a delay. Credits, a list and an
allocation are asked for in each mode in turn: from the replica, and from upstream with a cache that has all
of it (`warm`) or nothing (`cold`). Prints one JSON line a case, medians: processor time of our process and of
the database's work for it, time on the clock, queries, and requests to upstream.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bench import stage
from bench.refresh_memory import Catalog, served

COURSES = 200
DELAYS_MS = (0, 100)
ROUNDS = 5
DOLLARS = 199.0
"""The price of a course, as `tests.world` has it."""
FORK = multiprocessing.get_context("fork")


class Slow(Catalog):
    """A catalog of courses that can be joined, which answers after a delay and counts what it was asked."""

    asked: Any
    delay_ms: Any

    def answer(self, path: str, *, keys: list[str]) -> object:
        """Return what the catalog says, after the delay. Tokens are not counted."""
        if not path.endswith("/access_token"):
            with self.asked.get_lock():
                self.asked.value += 1
            time.sleep(self.delay_ms.value / 1000)
        return super().answer(path, keys=keys)

    def course(self, number: int) -> dict[str, object]:
        """Return a course with a run that is advertised, and open to all."""
        course, uuid = super().course(number), f"00000000-0000-4000-8000-{number:012}"
        run = f"course-v1:{course['key']}+1"
        terms = {"start_date": "2040-03-01T00:00:00Z", "content_price": DOLLARS}
        joined = {"status": "published", "is_marketable": True, "is_enrollable": True}
        return course | {
            "advertised_course_run_uuid": uuid,
            "course_runs": [{"key": run, "uuid": uuid, "title": course["title"], **joined}],
            "normalized_metadata": terms,
            "normalized_metadata_by_run": {run: terms},
        }


@dataclass(frozen=True)
class Upstream:
    """The catalog's process: its address, the requests so far, and the delay of each."""

    url: str
    asked: Any
    delay_ms: Any


def serve(asked: Any, delay_ms: Any, address: Any) -> None:
    """Serve for ever; send the address."""
    catalog = Slow(COURSES)
    catalog.asked, catalog.delay_ms = asked, delay_ms
    with served(catalog) as url:
        address.send(url)
        while True:
            time.sleep(60)


@dataclass(frozen=True)
class Variant:
    """A way to read content."""

    mode: str
    cache: str = ""
    delay_ms: int = 0

    def begin(self, upstream: Upstream, request: Callable[[], object]) -> None:
        """Read content this way from now on, with a cache as named."""
        settings.CONTENT_READS = self.mode
        upstream.delay_ms.value = self.delay_ms
        if self.cache == "cold":
            cache.clear()
        else:
            request()


VARIANTS = [
    Variant("replica"),
    *(Variant("upstream", cache, delay) for cache in ("warm", "cold") for delay in DELAYS_MS),
]


def cases(
    upstream: Upstream, requests: Mapping[str, Callable[[], object]], *, rounds: int
) -> Iterator[dict[str, Any]]:
    """Yield the figures: every request in every mode, in turn, after once to warm up and count queries."""
    for name, request in requests.items():
        took: dict[Variant, list[tuple[float, float, int]]] = {variant: [] for variant in VARIANTS}
        queries: dict[Variant, int] = {}
        for number in range(1 + rounds):
            for variant in VARIANTS:
                variant.begin(upstream, request)
                asked = upstream.asked.value
                if number == 0:
                    with CaptureQueriesContext(connection) as captured:
                        request()
                    queries[variant] = len(captured)
                    continue
                before, began = stage.processor_ms(), time.perf_counter()
                request()
                wall = (time.perf_counter() - began) * 1000
                took[variant].append((stage.processor_ms() - before, wall, upstream.asked.value - asked))
        for variant, times in took.items():
            ms, wall_ms, calls = (statistics.median(one) for one in zip(*times, strict=True))
            figures = {"ms": round(ms, 2), "wall_ms": round(wall_ms, 2), "upstream_requests": calls}
            yield {"kind": "modes", "case": name, **vars(variant), "queries": queries[variant], **figures}


def main() -> None:
    """Serve a catalog, measure, and print each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    asked, delay_ms = FORK.Value("i", 0), FORK.Value("i", 0)
    receives, sends = FORK.Pipe(duplex=False)
    server = FORK.Process(target=serve, args=(asked, delay_ms, sends), daemon=True)
    server.start()
    upstream = Upstream(receives.recv(), asked, delay_ms)
    try:
        with stage.database("postgres"):
            from bench import modes_requests  # noqa: PLC0415  # models, which need the settings

            head = stage.machine("postgres", "modes")
            modes_requests.prepare(upstream.url, courses=COURSES)
            for row in cases(upstream, modes_requests.Stage().requests(), rounds=chosen.rounds):
                line = json.dumps(row | {"machine": head})
                print(line, flush=True)
                if chosen.out:
                    with chosen.out.open("a", encoding="utf-8") as out:
                        out.write(f"{line}\n")
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
