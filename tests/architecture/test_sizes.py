"""What has outgrown its limit is found, and named by path and line."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_sizes.py"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False
    )


def function(lines: int) -> str:
    return "def grown():\n" + "    ...\n" * (lines - 1)


def test_modules_and_functions_within_their_limits_pass(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x = 1\n" * 400)
    (tmp_path / "function.py").write_text("@decorated\n" + function(40))

    assert check(tmp_path).returncode == 0


def test_a_module_of_401_lines_is_caught(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("x = 1\n" * 401)

    checked = check(tmp_path)

    assert checked.returncode == 1
    assert checked.stdout == f"{module}:401: the module has 401 lines, 400 are allowed\n"


def test_a_function_of_41_lines_is_caught(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("x = 1\n\n\n@decorated\nasync " + function(41))

    checked = check(tmp_path)

    assert checked.returncode == 1
    assert checked.stdout == f"{module}:5: grown() has 41 lines, 40 are allowed\n"


def test_migrations_may_be_as_long_as_they_must(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "initial.py").write_text("x = 1\n" * 401)

    assert check(tmp_path).returncode == 0
