"""A machine on which Bursary is installed, for processes of their own."""

import shutil
from pathlib import Path

import pytest

from tests.ops.processes import Demonstration, demonstrated


@pytest.fixture
def installed(tmp_path: Path, empty_database: Path) -> Path:
    """Return the folder of an installation: an empty database and a key."""
    shutil.copy(empty_database, tmp_path)
    (tmp_path / "secret.key").write_text("a-key-of-tests-that-signs-nothing-else")
    return tmp_path


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """Return a folder that was empty and became a demonstration, to be copied, and what was printed.

    For the tests of the group `demonstration`.
    """
    return demonstrated(tmp_path_factory.mktemp("demonstration"))
