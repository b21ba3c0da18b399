"""The secret key that an installation makes for itself and stores."""

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SHORTEST_SECRET = 32  # characters


def kept_secret(path: Path) -> str:
    """Return the secret key stored in `path`; at the first start, make it (mode 0600) and its folder.

    A new key is synced to the disk before anything is signed with it. Raises ImproperlyConfigured if the file
    cannot be read or is damaged.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # its mails are personal data
        # A hard link is atomic, so that two processes that start together use the same key.
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
    """Sync a folder to the disk, so that its new names survive a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
