"""Makes a migrated database, which `tests/databases.py` copies in each of many runs of pytest."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BURSARY = Path(sys.executable).with_name("bursary")


def database(folder: str) -> dict[str, str]:
    """Migrate a SQLite database in this folder; return the environment variables with its paths."""
    file = str(Path(folder, "migrated.sqlite3"))
    own = {"BURSARY_VAR_DIR": folder, "BURSARY_DATABASE_URL": f"sqlite:///{file}"}
    subprocess.run([str(BURSARY), "migrate", "-v0"], cwd=ROOT, env={**os.environ, **own}, check=True)
    return {
        "BURSARY_TEST_DB": "sqlite",
        "BURSARY_TEST_DIR": folder,
        "BURSARY_TEST_MIGRATED": file,
        "PYTEST_DEBUG_TEMPROOT": folder,
    }
