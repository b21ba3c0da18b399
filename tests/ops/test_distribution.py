"""The wheel and the sdist, built and installed where nothing else is: the demonstration runs from them.

`make package` runs it: what Bursary needs is installed from a package index, which takes half a minute.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.docs.pages import ROOT
from tests.ops.processes import environment

pytestmark = pytest.mark.skipif(
    "BURSARY_TEST_PACKAGE" not in os.environ, reason="`make package` builds and installs the package"
)

UV = Path(sys.executable).with_name("uv")


def uv(*arguments: object) -> None:
    done = subprocess.run(
        [UV, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode and "error sending request" in done.stderr.lower():
        pytest.skip("The package index does not answer.")
    assert done.returncode == 0, done.stderr


def test_the_demonstration_runs_from_a_wheel_that_was_built_from_the_sdist(tmp_path: Path) -> None:
    uv("build", "--quiet", "--out-dir", tmp_path / "dist")  # the sdist, and of it the wheel
    (wheel,), (sdist,) = (sorted((tmp_path / "dist").glob(ending)) for ending in ("*.whl", "*.tar.gz"))
    uv("venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    uv("pip", "install", "--quiet", "--python", tmp_path / "venv/bin/python", wheel)
    folder = tmp_path / "var"
    folder.mkdir()
    env = {name: value for name, value in environment(folder).items() if name != "PYTHONPATH"}

    done = subprocess.run(
        [tmp_path / "venv/bin/bursary", "demo", "--no-serve", "--weeks", "1", "--json"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    in_wheel = set(ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.check_output(["git", "ls-files", "bursary"], cwd=ROOT, text=True).split()
    ours = set(tracked)
    assert ours - in_wheel == set()
    assert ours | {"LICENSE", "README.md", "CHANGELOG.md", "deploy/compose.yaml"} <= in_sdist
