"""A machine on which Bursary is installed, for processes of their own."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def installed(tmp_path: Path, empty_database: Path) -> Path:
    """Return the folder of an installation: an empty database and a key."""
    shutil.copy(empty_database, tmp_path)
    (tmp_path / "secret.key").write_text("a-key-of-tests-that-signs-nothing-else")
    return tmp_path
