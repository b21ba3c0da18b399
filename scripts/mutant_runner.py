"""Run tests against mutants, each in a process that is forked once the tests have been collected.

Usage, in `mutants/`: `python ../scripts/mutant_runner.py [PATTERN …]`, as `scripts/mutants.py` does. Without
a pattern every mutant that has no result is run.

A mutant meets the tests that execute its function, until one fails. It is killed if that test, alone in a new
process, fails again with the mutant and passes without it; if not, the other tests follow. First all of them
pass on the code as it is, and one of them fails where every function raises an error.
"""

import itertools
import json
import multiprocessing
import os
import resource
import signal
import sys
from collections import Counter
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from mutmut.configuration import config as mutmut_config
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.stats import status_by_exit_code

WORKERS = min(2, len(os.sched_getaffinity(0)))
TEST_SECONDS = 60  # a test that takes longer hangs; the slowest takes a few seconds
PROCESS_BYTES = 4 << 30  # a change may allocate without end
# What mutmut writes for each result.
SURVIVED, KILLED, NO_TESTS = 0, 1, 33
UNCHANGED, ALL_RAISE = "", "fail"


def first_failure(mutant: str, tests: list[pytest.Item]) -> pytest.Item | None:
    """Run these tests with a mutant, in a new process; return the first that fails, hangs or crashes."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        run_until_failure(mutant, tests, writing)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what the test had started
    os.close(writing)
    begun = len(os.read(reading, len(tests)))
    os.close(reading)
    if not begun:
        raise RuntimeError(f"No test began; the process ended with {status}.")
    return tests[begun - 1] if status else None


def run_until_failure(mutant: str, tests: list[pytest.Item], writing: int) -> None:
    """Run tests in this process until one fails, writing a byte as each begins; end the process."""
    status = 2
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES, PROCESS_BYTES))
        set_mutant_under_test(mutant)
        session = tests[0].session
        session.config.pluginmanager.unregister(name="terminalreporter")
        for test, following in itertools.zip_longest(tests, tests[1:]):
            os.write(writing, b".")
            signal.alarm(TEST_SECONDS)
            test.ihook.pytest_runtest_protocol(item=test, nextitem=following)
            if session.testsfailed:
                break
        status = min(session.testsfailed, 1)
        session._setupstate.teardown_exact(None)
    finally:
        os._exit(status)


class Runner:
    """A plugin of pytest that runs mutants in place of the tests that were collected."""

    def __init__(self, patterns: list[str]) -> None:
        stats = json.loads(Path("mutmut-stats.json").read_text())
        self.tests_by_function: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self.seconds: dict[str, float] = stats["duration_by_test"]
        self.kills: Counter[tuple[str, str]] = Counter()
        self.results = {meta: json.loads(meta.read_text()) for meta in sorted(Path().rglob("*.py.meta"))}
        self.mutants = {
            mutant: meta
            for meta, stored in self.results.items()
            for mutant, result in stored["exit_code_by_key"].items()
            if (any(fnmatchcase(mutant, pattern) for pattern in patterns) if patterns else result is None)
        }

    def tests_of(self, mutant: str) -> list[pytest.Item]:
        """Return the tests that execute a mutant's function, the likeliest to fail first."""
        function = mutant.partition("__mutmut_")[0]
        folder, module = mutant.split(".")[1:3]

        def unlikely(test: pytest.Item) -> tuple[int, bool, bool, float]:
            beside = test.path.parent.name == folder
            mirrored = beside and test.path.stem == f"test_{module}"
            return -self.kills[function, test.nodeid], not mirrored, not beside, self.seconds[test.nodeid]

        named = (self.tests.get(nodeid) for nodeid in self.tests_by_function.get(function, ()))
        return sorted((test for test in named if test), key=unlikely)

    def judge(self, mutant: str, tests: list[pytest.Item]) -> int:
        """Return mutmut's code for what these tests make of a mutant."""
        if not tests:
            return NO_TESTS
        while tests and (failed := first_failure(mutant, tests)):
            # A test that fails without the change, too, kills nothing: its environment may have been moved.
            if first_failure(mutant, [failed]) and (
                mutant == UNCHANGED or not first_failure(UNCHANGED, [failed])
            ):
                self.kills[mutant.partition("__mutmut_")[0], failed.nodeid] += 1
                return KILLED
            tests = tests[tests.index(failed) + 1 :]
        return SURVIVED

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each mutant, and write its result where mutmut keeps it."""
        terminal = session.config.get_terminal_writer()
        self.tests = {test.nodeid: test for test in session.items}
        needed = list(dict.fromkeys(test for mutant in self.mutants for test in self.tests_of(mutant)))
        if needed and self.judge(ALL_RAISE, needed) != KILLED:
            pytest.exit("No test fails where every changed function raises an error.", returncode=1)
        self.unchanged = [needed[part::WORKERS] for part in range(WORKERS)]
        with multiprocessing.get_context("fork").Pool(WORKERS) as workers:
            if KILLED in workers.map(without_a_change, range(WORKERS), chunksize=1):
                pytest.exit("A test fails twice without a change.", returncode=1)
            found = zip(self.mutants.items(), workers.imap(with_a_change, self.mutants), strict=True)
            for number, ((mutant, meta), result) in enumerate(found, 1):
                self.results[meta]["exit_code_by_key"][mutant] = result
                meta.write_text(json.dumps(self.results[meta], indent=4))
                terminal.line(f"{number}/{len(self.mutants)} {status_by_exit_code[result]} {mutant}")
        return True


# Forked workers inherit the runner and the tests; both are too much to be sent to them.
def without_a_change(part: int) -> int:
    """Run a part of the tests on the code as it is."""
    return runner.judge(UNCHANGED, runner.unchanged[part])


def with_a_change(mutant: str) -> int:
    """Run a mutant's tests."""
    return runner.judge(mutant, runner.tests_of(mutant))


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    runner = Runner(sys.argv[1:])
    options = [*mutmut_config().pytest_add_cli_args, *mutmut_config().pytest_add_cli_args_test_selection]
    sys.exit(pytest.main(["-q", "--rootdir=.", *options], plugins=[runner]))
