"""A forked process begins with libraries alone, and ends as a new interpreter does."""

import json
import signal
from pathlib import Path

import pytest

from tests.forked import Forked
from tests.ops.processes import environment, python

BEGINS_WITH = """
import json, os, sys
from django.conf import settings
ours = [name for name in sys.modules if name.partition(".")[0] == "bursary"]
libraries = "pydantic" in sys.modules
print(json.dumps([ours, settings.configured, libraries, sys.argv, os.getcwd(), dict(os.environ)]))
"""


def test_a_forked_process_begins_with_libraries_and_nothing_of_this_service_or_of_the_tests_environment(
    tmp_path: Path,
) -> None:
    env = environment(tmp_path)
    ran = python("-c", BEGINS_WITH, "one", env=env)
    assert ran.stderr == ""
    assert json.loads(ran.stdout) == [[], False, True, ["-c", "one"], str(tmp_path), env]


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("print('yes')", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
    ],
)
def test_a_forked_process_ends_as_a_new_interpreter_does(
    program: str, status: int, said: str, tmp_path: Path
) -> None:
    ran = python("-c", program, env=environment(tmp_path))
    assert ran.returncode == status
    assert ran.stderr.endswith(said) if said else not ran.stderr


def test_a_forked_process_is_stopped_by_a_signal(tmp_path: Path) -> None:
    said = tmp_path / "said"
    forked = Forked(
        "-c", "import time; time.sleep(600)", env=environment(tmp_path), folder=tmp_path, out=said, err=said
    )
    assert forked.poll() is None
    forked.terminate()
    assert forked.wait() == -signal.SIGTERM
    forked.kill()  # has ended: nothing happens
