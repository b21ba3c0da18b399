"""A MariaDB server of a test run's own: Debian's `mariadbd` in a folder, on a socket, thrown away with it."""

import shutil
import socket
import subprocess
import time
from getpass import getuser
from pathlib import Path
from urllib.parse import quote

PATIENCE = 60  # seconds, for a busy machine
# MariaDB's precautions against a power cut, and its memory for much data: this is little, and thrown away.
# Locks, indexes and isolation are as everywhere.
CHEAP = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=32M",
    "--innodb-buffer-pool-size=64M",
    "--innodb-stats-persistent=0",
    "--performance-schema=0",
    "--skip-log-bin",
    "--skip-name-resolve",
)
LARGEST_PACKET = "--max-allowed-packet=16M"


def is_installed() -> bool:
    """Return whether this machine has the server: Debian's package `mariadb-server`."""
    return bool(_program("mariadbd") and _program("mariadb-install-db"))


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")


def url_of(name: str, socket_: str) -> str:
    """Return the value of BURSARY_DATABASE_URL for a database on the server with this socket."""
    return f"mysql://root@/{name}?unix_socket={quote(socket_, safe='')}"


class MariaDB:
    """A server with its data, socket and log in `folder`. It listens on no port unless one is given."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self._listening = ["--bind-address=127.0.0.1", f"--port={port}"] if port else ["--skip-networking"]
        self.socket = folder / "s"
        folder.mkdir()
        self._options = ["--no-defaults", f"--datadir={folder / 'data'}", f"--user={getuser()}", *CHEAP]
        self._options.append(f"--tmpdir={folder}")  # a server that starts empties it of temporary tables
        install = [str(_program("mariadb-install-db")), *self._options]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [str(_program("mariadbd")), *self._options, LARGEST_PACKET]
        command += [f"--socket={self.socket}", *self._listening]
        # Deliberately what an old installation has: Bursary asks for what it needs.
        command += ["--character-set-server=latin1", "--collation-server=latin1_swedish_ci"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
                return bool(client.recv(1))  # it greets when it is ready
            except OSError:
                return False

    def stop(self) -> None:
        """Stop it, and return when it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def throw_away(self) -> None:
        """End it at once: what it holds is needed no more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def url(self, name: str) -> str:
        """Return the value of BURSARY_DATABASE_URL for a database on it."""
        return url_of(name, str(self.socket))
