"""A RabbitMQ of our own, Debian's, in a folder that is thrown away."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USER = "rabbitmq"
PATIENCE = 300.0  # seconds


class RabbitMQ:
    """A broker that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port, self._dist_port, self._names_port = (free_port() for _each in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        paths = {
            name: str(self.folder) for name in ("HOME", "RABBITMQ_MNESIA_BASE", "RABBITMQ_LOG_BASE", "TMPDIR")
        }
        env = paths | {
            "PATH": os.environ["PATH"],
            "RABBITMQ_NODENAME": f"bursary{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "true",  # it may be ended by a command
        }
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [SERVER],
                env=env,
                cwd=self.folder,
                user=USER,
                group=USER,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while not self._greets():
            assert time.monotonic() < end, (self.folder / "output").read_text()
            time.sleep(0.2)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=5) as client:
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return client.recv(1) != b""
        except OSError:
            return False

    def kill(self) -> None:
        """Be gone at once."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """Kill the broker, and the server of names that it started, which outlives it."""
        self.kill()
        names = shutil.which("epmd") or "epmd"
        subprocess.run(
            [names, "-port", str(self._names_port), "-kill"], stdout=subprocess.DEVNULL, check=False
        )


@contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """Run a broker for the duration."""
    folder = Path(tempfile.mkdtemp(prefix="bursary-rabbitmq-"))
    shutil.chown(folder, USER, USER)
    server = RabbitMQ(folder)
    try:
        server.start()
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)
