"""The scripts of `make modes`, `make growth` and `make load`, each once at a tiny size: `make smoke`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import growth, report
from tests.elapsed import PATIENCE
from tests.ops.processes import environment

pytestmark = pytest.mark.skipif("BURSARY_TEST_BENCH" not in os.environ, reason="takes minutes: `make smoke`")


def measured(script: str, *options: str, folder: Path) -> list[dict[str, Any]]:
    """Run a script to its end, and return the figures that it wrote."""
    out = folder / "figures.jsonl"
    out.unlink(missing_ok=True)  # a script adds to it
    command = [sys.executable, "-m", f"bench.{script}", "--out", str(out), *options]
    run = subprocess.run(command, env=environment(folder), capture_output=True, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_modes_read_each_thing_each_way_and_ask_upstream_only_with_a_cold_cache(tmp_path: Path) -> None:
    found = measured("modes", "--rounds", "1", folder=tmp_path)
    asked = {(row["case"], row["cache"]): row["upstream_requests"] for row in found}
    assert {count for (_case, cache), count in asked.items() if cache != "cold"} == {0}
    assert asked["credits, 1", "cold"] == asked["allocation to 10", "cold"] == 1
    assert asked["credits, 200", "cold"] == 4  # fifty keys a request
    assert len(found) == 25
    assert "against fetch and cache" in report.page(found)[0]


def test_growth_measures_every_case_and_is_drawn(tmp_path: Path) -> None:
    run = ["--most", "1000", "--only"]
    found = measured("growth", *run, "learner", "allocation", "sweep", "budget", "budgets", folder=tmp_path)
    found += measured("growth", "--most", "100", "--only", "catalog", folder=tmp_path)
    assert {row["case"] for row in found} == set(growth.EXPECTED)
    assert {"growth-learner.svg", "growth-allocation.svg", "growth-memory.svg"} <= set(report.page(found)[1])


def test_load_is_answered_without_an_error(tmp_path: Path) -> None:
    options = ["--seconds", "3", "--assignments", "500", "--most", "2"]
    found = measured("load", *options, folder=tmp_path)
    assert [row["connections"] for row in found] == [1, 2, 8]
    assert {status for row in found for status in row["statuses"]} <= {"200", "202"}
    assert "under load" in report.page(found)[0]
