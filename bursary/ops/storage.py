"""Checks whether SQLite's file and the folder of mails can be written."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from django.conf import settings
from django.db import connection

from bursary.delivery import file_backend

PROBE = 4096  # bytes: a block of most file systems
LEAST_FREE = 10 * 1024 * 1024  # bytes, for SQLite's write-ahead log
_FULL = (errno.ENOSPC, errno.EDQUOT)


def problems() -> set[str]:
    """Return `disk_full` and `folder_not_writable`, if they apply. Writes one block and leaves no file."""
    found: set[str] = set()
    folders: list[Path] = []
    if connection.vendor == "sqlite":
        file = Path(connection.settings_dict["NAME"])
        folders.append(file.parent)
        if file.exists() and not os.access(file, os.W_OK):
            found.add("folder_not_writable")
    if settings.EMAIL_BACKEND == file_backend.BACKEND:
        folder = Path(getattr(settings, "EMAIL_FILE_PATH", ""))
        # The first mail makes the folder.
        folders.append(next(one for one in (folder, *folder.parents) if one.exists()))
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(PROBE))
                probe.flush()
            if shutil.disk_usage(folder).free < LEAST_FREE:
                found.add("disk_full")
        except OSError as error:
            found.add("disk_full" if error.errno in _FULL else "folder_not_writable")
    return found
