"""Mails as files: one for each mail, named after its action, so that it can be found again and removed.

A mail's Message-ID is `<uuid of the action@host>`; its file is `<uuid>.eml`. While it is written it is called
`<uuid>.part`: a crash leaves nothing that `remove` would not find.
"""

import fcntl
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

BACKEND = f"{__name__}.EmailBackend"
FINISHED, UNFINISHED = ".eml", ".part"
OLDER = ".log"  # Django's own backend wrote these: several mails in one where they met in a second
LONGEST_HEAD = 200  # lines in which an older mail's Message-ID must stand

_MESSAGE_ID = re.compile(rb"Message-ID:\s*<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@", re.IGNORECASE)
_BETWEEN_MAILS = b"-" * 79 + b"\n"


class EmailBackend(BaseEmailBackend):
    """Writes each mail into a file of its own in EMAIL_FILE_PATH, readable by its owner alone."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the mails; return how many. The same mail written again replaces its file."""
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message in email_messages:
            mail = message.message().as_bytes()
            with _written(folder, _name(mail)) as file:
                file.write(mail)
        return len(email_messages)


def folders() -> list[Path]:
    """Return where mails may lie: where they are written now, and where they are written by default."""
    default = Path(settings.VAR_DIR, "mail")
    written_now = _folder() if settings.EMAIL_BACKEND == BACKEND else default
    return [folder for folder in dict.fromkeys([written_now, default]) if folder.is_dir()]


def remove(actions: Iterable[uuid.UUID]) -> int:
    """Remove the mails of these actions (uuids) for good; return how many there were."""
    names = [f"{action}{suffix}" for action in actions for suffix in (FINISHED, UNFINISHED)]
    removed = 0
    for folder in folders():
        for name in names:
            with suppress(FileNotFoundError):
                (folder / name).unlink()
                removed += 1
        _settle(folder)
    return removed


def name_older() -> int:
    """Give the mails that Django's backend wrote names by which `remove` finds them; return how many files.

    Each is read once in its life, a line at a time. What is no mail of ours stays as it is.
    """
    named = 0
    for folder in folders():
        with _alone(folder), os.scandir(folder) as entries:
            named += sum(_name_older(Path(entry)) for entry in entries if entry.name.endswith(OLDER))
    return named


def _name_older(path: Path) -> bool:
    """Copy each mail of an older file into one of its own, then remove the older file."""
    with path.open("rb") as lines:
        copied = [_copy(path.parent, mail) for mail in _mails(lines)]
    if all(copied):
        path.unlink()
    return all(copied)


def _copy(folder: Path, lines: Iterator[bytes]) -> bool:
    head: list[bytes] = []
    for line in lines:
        head.append(line)
        if _MESSAGE_ID.search(b"".join(head[-2:])):
            break
        if len(head) == LONGEST_HEAD:
            break
    if not (found := _MESSAGE_ID.search(b"".join(head[-2:]))):
        for _line in lines:
            pass  # the next mail begins after this one
        return False
    with _written(folder, found.group(1).decode().lower()) as file:
        file.writelines(head)
        file.writelines(lines)
    return True


def _mails(lines: BinaryIO) -> Iterator[Iterator[bytes]]:
    """Yield the lines of one mail after the other."""
    for first in lines:
        yield _one_mail(first, lines)


def _one_mail(first: bytes, lines: BinaryIO) -> Iterator[bytes]:
    yield first
    for line in lines:
        if line == _BETWEEN_MAILS:
            return
        yield line


def _folder() -> Path:
    folder: str = getattr(settings, "EMAIL_FILE_PATH", "")
    return Path(folder)


def _name(mail: bytes) -> str:
    """Return the uuid of the mail's action; of a mail without one, a new uuid."""
    head = mail.partition(b"\n\n")[0]
    found = _MESSAGE_ID.search(head)
    return found.group(1).decode().lower() if found else str(uuid.uuid4())


@contextmanager
def _written(folder: Path, name: str) -> Iterator[BinaryIO]:
    """Write a file that appears whole or not at all, and outlives a power cut."""
    draft = folder / f"{name}{UNFINISHED}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / f"{name}{FINISHED}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process after the other name older mails: a second would bring back what the first removes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _settle(folder: Path) -> None:
    """Have the folder itself written: what was removed stays removed after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
