"""Sends a mix of requests over kept connections for some seconds: the client of `bench/load.py`.

A process of its own. It reads a plan as JSON from its input, and prints what was answered as JSON.
"""

import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from bench.curves import percentile

WARM_UP = 0.15
"""The share of the time in which requests are not counted."""
PATIENCE = 120.0  # seconds, for one answer
NEW = "{new}"
"""What becomes new for each request: a body with it names learners that nothing has yet."""


class Sent(NamedTuple):
    """A request that was answered. Its status is 0 where there was no answer."""

    name: str
    status: int
    ms: float
    ended: float


class Sender(threading.Thread):
    """One kept connection, which sends its next request when the last one has been answered."""

    def __init__(self, plan: Mapping[str, Any], *, seed: int, until: float) -> None:
        super().__init__(daemon=True)
        self.plan, self.random, self.until = plan, random.Random(seed), until
        self.sent: list[Sent] = []

    def run(self) -> None:
        """Send until it is time to stop."""
        kinds = self.plan["mix"]
        weights = [kind["weight"] for kind in kinds]
        connection = self._connect()
        while time.monotonic() < self.until:
            [kind] = self.random.choices(kinds, weights)
            path, body, headers = self.random.choice(kind["requests"])
            began = time.monotonic()
            try:
                method = "POST" if body else "GET"
                connection.request(method, path, body.replace(NEW, uuid4().hex), headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
                connection = self._connect()
            ended = time.monotonic()
            self.sent.append(Sent(kind["name"], status, (ended - began) * 1000, ended))
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.plan["host"], timeout=PATIENCE)


def summary(sent: Sequence[Sent], *, seconds: float) -> dict[str, Any]:
    """Return the requests a second, the times of 50 and of 99 in 100, and how many had which status.

    Statuses are in words, as JSON's keys are; `none` is no answer.
    """
    times = [one.ms for one in sent]
    statuses = Counter(str(one.status) if one.status else "none" for one in sent)
    return {
        "per_second": round(len(sent) / seconds, 1),
        "p50_ms": round(percentile(times, 0.5), 1),
        "p99_ms": round(percentile(times, 0.99), 1),
        "statuses": dict(sorted(statuses.items())),
    }


def main() -> None:
    """Send what the plan says, and print the summary of all requests and of each kind."""
    plan = json.load(sys.stdin)
    began = time.monotonic()
    until, counted_from = began + plan["seconds"], began + WARM_UP * plan["seconds"]
    senders = [Sender(plan, seed=number, until=until) for number in range(plan["connections"])]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    sent = [one for sender in senders for one in sender.sent if one.ended >= counted_from]
    seconds = max(time.monotonic(), until) - counted_from
    names = [kind["name"] for kind in plan["mix"]]
    kinds = {name: summary([one for one in sent if one.name == name], seconds=seconds) for name in names}
    print(json.dumps({**summary(sent, seconds=seconds), "kinds": kinds}))


if __name__ == "__main__":
    main()
