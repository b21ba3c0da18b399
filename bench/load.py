"""The served API under load: `python -m bench.load [--seconds 10] [--assignments 100000] [--out FILE]`.

`bursary serve` with two workers, and a PostgreSQL of its own in a temporary folder with a budget of many
assignments; a client in another process, with 1 to 64 kept connections, each of which sends its next request
when the last one has been answered. Mails are left to workers of their own, as at scale. Prints one JSON line
for each number of connections, and one for lists of 100 alone. Ends with 1 after a 5xx, a request without an
answer or a deadlock.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db import connection

from bench import stage
from bench.curves import knee
from tests.ports import reserved

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
LIST = "list of 100 by cursor"
LISTS_BY = 8
"""Connections that ask for lists alone."""
LISTS_A_SECOND = 100
WORKERS = 2
MAX_SECONDS = 120
"""That the server may take to begin."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve with two workers meanwhile, and return HOST:PORT."""
    with reserved() as port:
        host = f"127.0.0.1:{port}"
        more = {"BURSARY_BASE_URL": f"http://{host}", "PYTHONPATH": str(ROOT)}
        unlimited = {"BURSARY_GETS_PER_MINUTE": "0", "BURSARY_POSTS_PER_MINUTE": "0"}
        command = [sys.executable, "-m", "bursary.config.cli", "serve", "--bind", host]
        command += ["--workers", str(WORKERS)]
        env = os.environ | more | unlimited
        server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        try:
            ends = time.monotonic() + MAX_SECONDS
            while not _answers(host):
                if server.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError("The server does not answer.")
                time.sleep(0.2)
            yield host
        finally:
            server.terminate()
            server.wait()


def _answers(host: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{host}/healthz", timeout=10) as answer:
        return bool(answer.status == 200)
    return False


def sent(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Run the client in a process of its own, behind the server in priority, and return its summary."""
    command = ["nice", "-n", "5", sys.executable, "-m", "bench.load_client"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, input=json.dumps(plan).encode(), env=environment, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def deadlocks() -> int:
    """Return how many deadlocks the database has had."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def levels(kinds: list[dict[str, Any]], *, host: str, limit: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the figures of the mix for each number of connections, and those of lists alone."""
    for connections in CONNECTIONS:
        if connections <= limit:
            plan = {"host": host, "seconds": seconds, "connections": connections, "mix": kinds}
            yield {"case": "mix", "connections": connections, **sent(plan)}
    lists = [kind for kind in kinds if kind["name"] == LIST]
    plan = {"host": host, "seconds": seconds, "connections": LISTS_BY, "mix": lists}
    yield {"case": LIST, "connections": LISTS_BY, **sent(plan)}


def failures(row: Mapping[str, Any]) -> int:
    """Return how many requests had no answer or a 5xx."""
    return sum(count for status, count in row["statuses"].items() if status == "none" or status >= "500")


def main() -> int:
    """Serve, send, print each figure, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--assignments", type=int, default=100_000)
    parser.add_argument("--most", type=int, default=CONNECTIONS[-1], help="connections")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found: list[dict[str, Any]] = []
    with stage.database("postgres"):
        from bench.load_mix import mix  # noqa: PLC0415  # models, which need the settings

        head, kinds = stage.machine("postgres", "load"), mix(chosen.assignments)
        stage.let_the_database_settle()
        with serving() as host:
            for row in levels(kinds, host=host, limit=chosen.most, seconds=chosen.seconds):
                size = {"assignments": chosen.assignments, "deadlocks": deadlocks()}
                found.append({"kind": "load", **row, **size})
                line = json.dumps(found[-1] | {"machine": head})
                print(line, flush=True)
                if chosen.out:
                    with chosen.out.open("a", encoding="utf-8") as out:
                        out.write(f"{line}\n")
    mixed = [(row["connections"], row["per_second"]) for row in found if row["case"] == "mix"]
    lists = found[-1]["per_second"]
    print(
        f"The knee is at {knee(mixed):g} connections; lists of 100: {lists} a second (aim: {LISTS_A_SECOND})"
    )
    return 1 if sum(map(failures, found)) or found[-1]["deadlocks"] else 0


if __name__ == "__main__":
    sys.exit(main())
