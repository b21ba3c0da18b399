"""Run tests against mutants, each in a process that is forked after the tests have been collected.

Usage, in `mutants/`: `python ../scripts/mutant_runner.py [PATTERN …]`, as `scripts/mutants.py` does. Without
a pattern, every mutant without a result is run.

First every test runs on the unchanged code, and the functions that it executes are recorded; a test that
fails twice is left out. Then a test must fail if every function raises an error. A mutant is tested with the
tests that execute its function, until one fails. It is killed if that test, alone in a new process, fails
again with the mutant and passes without it; if not, the other tests follow. A mutant in `explained.json`,
with a reason why it changes nothing, is tested only with the `MAX_TESTS` nearest tests.
"""

import gc
import itertools
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest
from mutmut.configuration import config as mutmut_config
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.stats import status_by_exit_code

WORKERS = min(2, len(os.sched_getaffinity(0)))
TEST_SECONDS = 60  # after which a test counts as hanging; the slowest takes a few seconds
MAX_TESTS = 100  # without this, the few mutants that change nothing took most time, with up to 800 tests each
PROCESS_BYTES = 4 << 30  # a change may allocate without end
# mutmut's codes of results.
SURVIVED, KILLED, NO_TESTS = 0, 1, 33
# mutmut's names of the unchanged code, of a run that records the executed functions, and of code that raises.
UNCHANGED, NOTED, ALL_RAISE = "", "stats", "fail"
KEEP_STATEMENTS = ("PreparedSelect", "PreparedUpdate")
"""Classes of `bursary/lib/prepared.py`: only the first test in a process executes their functions."""


class Executed(NamedTuple):
    """A test that passes on the unchanged code."""

    test: str
    seconds: float
    functions: list[str]


def first_failure(mutant: str, tests: list[pytest.Item], notes: int | None = None) -> pytest.Item | None:
    """Run these tests with a mutant in a new process; return the first that fails, hangs or crashes.

    `notes` is a file descriptor, to which a line is written for each test that passes.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        run_until_failure(mutant, tests, writing, notes)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # the test's own processes
    os.close(writing)
    begun = len(os.read(reading, len(tests)))
    os.close(reading)
    if not begun:
        raise RuntimeError(f"No test began; the process ended with {status}.")
    return tests[begun - 1] if status else None


def run_until_failure(mutant: str, tests: list[pytest.Item], writing: int, notes: int | None) -> None:
    """Run tests until one fails, and write a byte when each begins; then end this process."""
    status = 2
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES, PROCESS_BYTES))
        set_mutant_under_test(mutant)
        session = tests[0].session
        session.config.pluginmanager.unregister(name="terminalreporter")
        for test, following in itertools.zip_longest(tests, tests[1:]):
            os.write(writing, b".")
            if notes is not None:
                build_statements_anew()
            signal.alarm(TEST_SECONDS)
            began = perf_counter()
            test.ihook.pytest_runtest_protocol(item=test, nextitem=following)
            if session.testsfailed:
                break
            if notes is not None:
                line = Executed(test.nodeid, perf_counter() - began, sorted(state()._stats))
                state()._stats.clear()
                os.write(notes, f"{json.dumps(line)}\n".encode())
        status = min(session.testsfailed, 1)
        session._setupstate.teardown_exact(None)
    finally:
        os._exit(status)


def build_statements_anew() -> None:
    """Drop the prepared SQL, so that each test that uses it executes the function that builds it."""
    gc.unfreeze()  # `get_objects` returns no frozen objects
    for one in gc.get_objects():
        if type(one).__name__ in KEEP_STATEMENTS:
            one._built.clear()


class Runner:
    """A pytest plugin that runs mutants instead of the collected tests."""

    def __init__(self, patterns: list[str]) -> None:
        self.tests: dict[str, pytest.Item] = {}
        self.passing: dict[str, Executed] = {}
        self.tests_by_function: dict[str, list[pytest.Item]] = defaultdict(list)
        self.explained = set(json.loads(Path("explained.json").read_text()))
        self.kills: Counter[tuple[str, str]] = Counter()
        self.results = {meta: json.loads(meta.read_text()) for meta in sorted(Path().rglob("*.py.meta"))}
        self.mutants = {
            mutant: meta
            for meta, stored in self.results.items()
            for mutant, result in stored["exit_code_by_key"].items()
            if (any(fnmatchcase(mutant, pattern) for pattern in patterns) if patterns else result is None)
        }

    def tests_of(self, mutant: str) -> list[pytest.Item]:
        """Return the tests that execute a mutant's function, with the likeliest to fail first."""
        function = mutant.partition("__mutmut_")[0]
        folder, module = mutant.split(".")[1:3]

        def distance(test: pytest.Item) -> tuple[bool, bool, int]:
            beside = test.path.parent.name == folder
            mirrored = beside and test.path.stem.startswith(f"test_{module}")
            return not mirrored, not beside, len(self.passing[test.nodeid].functions)

        def unlikely(test: pytest.Item) -> tuple[int, bool, bool, float]:
            return -self.kills[function, test.nodeid], *distance(test)[:2], self.passing[test.nodeid].seconds

        most = MAX_TESTS if mutant in self.explained else None
        return sorted(sorted(self.tests_by_function[function], key=distance)[:most], key=unlikely)

    def executed(self, part: int) -> list[Executed]:
        """Run a part of the tests on the unchanged code; return those that pass."""
        tests = list(self.tests.values())[part::WORKERS]
        with tempfile.TemporaryFile() as notes:
            while tests and (failed := first_failure(NOTED, tests, notes.fileno())):
                first_failure(NOTED, [failed], notes.fileno())  # it may pass alone
                tests = tests[tests.index(failed) + 1 :]
            notes.seek(0)
            return [Executed(*json.loads(line)) for line in notes]

    def try_mutant(self, mutant: str, tests: list[pytest.Item]) -> tuple[int, str]:
        """Return mutmut's code for the result of these tests with a mutant, and the test that killed it."""
        if not tests:
            return NO_TESTS, ""
        while tests and (failed := first_failure(mutant, tests)):
            # A test that also fails without the change kills nothing: its environment may have changed.
            if first_failure(mutant, [failed]) and not first_failure(UNCHANGED, [failed]):
                self.kills[mutant.partition("__mutmut_")[0], failed.nodeid] += 1
                return KILLED, failed.nodeid
            tests = tests[tests.index(failed) + 1 :]
        return SURVIVED, ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each mutant, and write its result to mutmut's file."""
        terminal, began = session.config.get_terminal_writer(), perf_counter()
        self.tests = {test.nodeid: test for test in session.items}
        with at_once() as workers:
            passing = list(itertools.chain(*workers.map(tests_without_a_change, range(WORKERS))))
        self.passing = {each.test: each for each in passing}
        for nodeid, test in self.tests.items():
            if nodeid not in self.passing:
                terminal.line(f"left out, because it fails without a change: {nodeid}")
                continue
            for function in self.passing[nodeid].functions:
                self.tests_by_function[function].append(test)
        needed = list(dict.fromkeys(test for mutant in self.mutants for test in self.tests_of(mutant)))
        if needed and self.try_mutant(ALL_RAISE, needed)[0] != KILLED:
            pytest.exit("No test fails where every changed function raises an error.", returncode=1)
        with at_once() as workers:
            found = zip(self.mutants.items(), workers.map(with_a_change, self.mutants), strict=True)
            for number, ((mutant, meta), (result, killer)) in enumerate(found, 1):
                self.results[meta]["exit_code_by_key"][mutant] = result
                meta.write_text(json.dumps(self.results[meta], indent=4))
                progress = f"{number}/{len(self.mutants)} {perf_counter() - began:.0f} s"
                terminal.line(f"{progress} {status_by_exit_code[result]} {mutant} {killer}")
        return True


def at_once() -> ProcessPoolExecutor:
    """Return a pool of forks, which may start processes themselves, as tests do."""
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork"))


# Forked workers inherit `runner`, because it and the tests cannot be sent to them.
def tests_without_a_change(part: int) -> list[Executed]:
    """Run a part of the tests on the unchanged code."""
    return runner.executed(part)


def with_a_change(mutant: str) -> tuple[int, str]:
    """Run a mutant's tests."""
    return runner.try_mutant(mutant, runner.tests_of(mutant))


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    runner = Runner(sys.argv[1:])
    options = [*mutmut_config().pytest_add_cli_args, *mutmut_config().pytest_add_cli_args_test_selection]
    sys.exit(pytest.main(["-q", "--rootdir=.", *options], plugins=[runner]))
