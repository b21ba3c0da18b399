"""The secret key that an installation makes for itself, and keeps."""

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SHORTEST_SECRET = 32  # characters


def kept_secret(path: Path) -> str:
    """Return the secret key kept in `path`; make it (mode 0600), and its folder, at the first start.

    A new key is on the disk, under its name, before anything is signed with it. Raises ImproperlyConfigured
    for a file that cannot be read, or is damaged.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the mails in it are personal data
        # A hard link appears whole or not at all: two processes that start together agree on one key.
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        with draft.open("w") as file:
            file.write(secrets.token_urlsafe(64))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        _sync_folder(path.parent)
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read. Restore it from a backup") from error
    if len(key) < SHORTEST_SECRET:
        raise ImproperlyConfigured(
            f"{path} is damaged: it has less than {SHORTEST_SECRET} characters. Restore it from a backup; "
            "with a new one, all are signed out and links in sent mails do not work"
        )
    return key


def _sync_folder(path: Path) -> None:
    """Have the names in a folder survive a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
