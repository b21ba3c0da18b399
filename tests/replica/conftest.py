"""The fixture that several tests of the replica share."""

from pathlib import Path

import pytest
from pytest_django import Settings

from tests.replica.serving import Catalogs


@pytest.fixture
def catalogs(tmp_path: Path, settings: Settings) -> Catalogs:
    """Two catalogs in a folder that the test may edit, read once."""
    served = Catalogs.configured(tmp_path / "catalogs", settings)
    served.sync_both()
    return served
