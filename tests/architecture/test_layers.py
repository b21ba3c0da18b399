"""Each kind of wrong import is planted in a copy of the package, and must break the contract meant for it.

All are planted in one copy: a broken contract lists each import that breaks it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

LAYERS = "Layers: no import from a layer above, nor from beside"
ASSIGNMENTS = "Inside assignments: decisions over lifecycle over timeline over index over tables"
REPLICA = "Inside the replica: readers over refreshing over ingestion over tables"
TABLES = "Tables import no client of a remote service"
CATALOG = "Only the replica talks to the catalog"
UPSTREAM = "Only the parts that speak for a remote service import its client"
CIRCLES = "No circles among neighbours"
CONTRACTS = (LAYERS, ASSIGNMENTS, REPLICA, TABLES, CATALOG, UPSTREAM, CIRCLES)

PLANTED = (
    ("delivery/new.py", "import bursary.api"),
    ("replica/new.py", "import bursary.upstream.client\ndef late():\n    from bursary import assignments"),
    ("dashboard/new.py", "import bursary.api"),
    ("utils/__init__.py", ""),
    ("assignments/models.py", "import bursary.assignments.actions"),
    ("replica/merge.py", "import bursary.replica.store"),
    ("replica/models.py", "import bursary.upstream.client"),
    ("api/new.py", "import bursary.catalog"),
    ("upstream/new.py", "import bursary.catalog"),
    ("budgets/hen.py", "import bursary.budgets.egg"),
    ("budgets/egg.py", "import bursary.budgets.hen"),
)


def copied(folder: Path) -> Path:
    """Fill a folder with the package's modules and the contracts as they are."""
    ignored = shutil.ignore_patterns("__pycache__", "static", "templates", "locale", "*.jsonl")
    shutil.copytree(ROOT / "bursary", folder / "bursary", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Plant every wrong import in a copy; return what the report says of each contract that is broken."""
    copy = copied(tmp_path_factory.mktemp("planted"))
    for path, source in PLANTED:
        module = copy / "bursary" / path
        module.parent.mkdir(exist_ok=True)
        with module.open("a") as lines:
            lines.write(f"\n{source}\n")
    linted = lint(copy)
    assert linted.returncode == 1
    report = " ".join(linted.stdout.partition("Broken contracts")[2].split())
    _before, *parts = re.split(f"({'|'.join(map(re.escape, CONTRACTS))})", report)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_package_keeps_every_contract(tmp_path: Path) -> None:
    linted = lint(copied(tmp_path))

    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("contract", "listed"),
    [
        pytest.param(LAYERS, "- bursary.delivery.new -> bursary.api (", id="an import from a layer above"),
        pytest.param(
            LAYERS,
            "- bursary.replica.new -> bursary.assignments (",
            id="an import from a layer above inside a function",
        ),
        pytest.param(LAYERS, "- bursary.dashboard.new -> bursary.api (", id="an import from beside"),
        pytest.param(LAYERS, "are not listed as layers: - bursary.utils (", id="a package without a layer"),
        pytest.param(
            ASSIGNMENTS,
            "- bursary.assignments.models -> bursary.assignments.actions (",
            id="tables that import their writer",
        ),
        pytest.param(
            REPLICA,
            "- bursary.replica.merge -> bursary.replica.store (",
            id="a decision that imports what writes it",
        ),
        pytest.param(
            REPLICA, "are not listed as layers: - bursary.replica.new (", id="a module without a layer"
        ),
        pytest.param(
            TABLES, "- bursary.replica.models -> bursary.upstream.client (", id="tables that import a client"
        ),
        pytest.param(CATALOG, "- bursary.api.new -> bursary.catalog (", id="the catalog without the replica"),
        pytest.param(
            UPSTREAM,
            "- bursary.replica.new -> bursary.upstream.client (",
            id="a remote service asked directly",
        ),
        pytest.param(
            LAYERS,
            "- bursary.upstream.new -> bursary.catalog (",
            id="a client that imports what it is used for",
        ),
        pytest.param(CIRCLES, "No cycles are allowed in bursary.budgets.", id="a circle within a package"),
    ],
)
def test_a_wrong_import_breaks_its_contract(broken: dict[str, str], contract: str, listed: str) -> None:
    assert listed in broken[contract]
