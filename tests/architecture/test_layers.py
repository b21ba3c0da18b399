"""Each kind of wrong import is planted in a copy of the package, and must break the contract meant for it."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = "Layers: no import from a layer above, nor from beside"
ASSIGNMENTS = "Inside assignments: decisions over lifecycle over timeline over index over tables"
REPLICA = "Inside the replica: readers over refreshing over ingestion over tables"
TABLES = "Tables import no client of a remote service"
CATALOG = "Only the replica talks to the catalog"
UPSTREAM = "Only the parts that speak for a remote service import its client"
CIRCLES = "No circles among neighbours"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with the package's modules and the contracts as they are."""
    ignored = shutil.ignore_patterns("__pycache__", "static", "templates", "locale", "*.jsonl")
    shutil.copytree(ROOT / "bursary", tmp_path / "bursary", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


def test_the_package_keeps_every_contract(copy: Path) -> None:
    linted = lint(copy)

    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("planted", "contract"),
    [
        pytest.param({"delivery/new.py": "import bursary.api"}, LAYERS, id="an import from a layer above"),
        pytest.param(
            {"replica/new.py": "def late():\n    from bursary import assignments"},
            LAYERS,
            id="an import from a layer above inside a function",
        ),
        pytest.param({"dashboard/new.py": "import bursary.api"}, LAYERS, id="an import from beside"),
        pytest.param({"utils/__init__.py": ""}, LAYERS, id="a package without a layer"),
        pytest.param(
            {"assignments/models.py": "import bursary.assignments.actions"},
            ASSIGNMENTS,
            id="tables that import their writer",
        ),
        pytest.param(
            {"replica/merge.py": "import bursary.replica.store"},
            REPLICA,
            id="a decision that imports what writes it",
        ),
        pytest.param(
            {"replica/models.py": "import bursary.upstream.client"},
            TABLES,
            id="tables that import a client",
        ),
        pytest.param({"api/new.py": "import bursary.catalog"}, CATALOG, id="the catalog without the replica"),
        pytest.param(
            {"replica/new.py": "import bursary.upstream.client"},
            UPSTREAM,
            id="a remote service asked directly",
        ),
        pytest.param(
            {"upstream/new.py": "import bursary.catalog"},
            LAYERS,
            id="a client that imports what it is used for",
        ),
        pytest.param(
            {"budgets/hen.py": "import bursary.budgets.egg", "budgets/egg.py": "import bursary.budgets.hen"},
            CIRCLES,
            id="a circle within a package",
        ),
    ],
)
def test_a_wrong_import_breaks_its_contract(copy: Path, planted: Mapping[str, str], contract: str) -> None:
    for path, source in planted.items():
        module = copy / "bursary" / path
        module.parent.mkdir(exist_ok=True)
        with module.open("a") as lines:
            lines.write(f"\n{source}\n")

    linted = lint(copy)

    assert linted.returncode == 1
    assert f"{contract} BROKEN" in " ".join(linted.stdout.split())
