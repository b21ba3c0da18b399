"""Mails as files. Each is named after its action, so that `remove` finds it.

A mail's Message-ID is `<uuid of the action@host>`, and its file `<uuid>.eml`. While it is written, the file
is `<uuid>.part`, which `remove` finds as well after a crash.
"""

import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from email import message_from_bytes, policy
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

BACKEND = f"{__name__}.FileEmailBackend"
FINISHED, UNFINISHED = ".eml", ".part"
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(eml|part)")

_MESSAGE_ID = re.compile(rb"Message-ID:\s*<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@", re.IGNORECASE)


class MailFolderError(OSError):
    """The folder of mails cannot be written: its disk is full, or its permissions forbid it."""


class FileEmailBackend(BaseEmailBackend):
    """Writes each mail into a file of its own in EMAIL_FILE_PATH, readable by its owner alone."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the mails; return how many. The same mail written again replaces its file.

        Raises MailFolderError.
        """
        folder = _folder()
        for message in email_messages:
            mail = message.message().as_bytes()
            found = _MESSAGE_ID.search(mail.partition(b"\n\n")[0])
            name = found.group(1).decode().lower() if found else str(uuid.uuid4())
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(folder, name, mail)
            except OSError as error:
                raise MailFolderError(
                    f"The folder of mails cannot be written: {error.strerror or error}."
                ) from error
        return len(email_messages)


def folders() -> list[Path]:
    """Return the folders that may hold mails: the configured one and the default one."""
    default = Path(settings.VAR_DIR, "mail")
    written_now = _folder() if settings.EMAIL_BACKEND == BACKEND else default
    return [folder for folder in dict.fromkeys([written_now, default]) if folder.is_dir()]


def remove(actions: Iterable[uuid.UUID]) -> int:
    """Remove the mails of these actions (uuids) for good; return the number of files."""
    names = [f"{action}{suffix}" for action in actions for suffix in (FINISHED, UNFINISHED)]
    removed = 0
    for folder in folders():
        for name in names:
            with suppress(FileNotFoundError):
                (folder / name).unlink()
                removed += 1
        # The folder itself is written: what was removed stays removed after a power cut.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return removed


def remove_mentioning(mention: re.Pattern[str]) -> int:
    """Remove the mails with a mention in their headers or text, whatever their names; return how many.

    A file that is not named like a mail of Bursary is left alone.
    """
    removed = 0
    for folder in folders():
        for file in folder.iterdir():
            if _NAME.fullmatch(file.name) and any(mention.search(text) for text in _texts(file)):
                file.unlink(missing_ok=True)
                removed += 1
    remove([])  # makes it last
    return removed


def _texts(file: Path) -> Iterator[str]:
    """Yield the headers and texts of a mail, decoded, and the file as it is."""
    content = file.read_bytes()
    yield content.decode(errors="replace")
    message = message_from_bytes(content, policy=policy.default)
    yield from (str(value) for value in message.values())
    for part in message.walk():
        if part.get_content_maintype() == "text":
            decoded = part.get_payload(decode=True)
            yield decoded.decode(errors="replace") if isinstance(decoded, bytes) else ""


def _folder() -> Path:
    folder: str = getattr(settings, "EMAIL_FILE_PATH", "")
    return Path(folder)


def _write(folder: Path, name: str, mail: bytes) -> None:
    """Write a file atomically and durably: it appears complete or not at all, and survives a power cut."""
    draft = folder / f"{name}{UNFINISHED}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(mail)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / f"{name}{FINISHED}")
