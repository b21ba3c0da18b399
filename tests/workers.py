"""How the processes of a test run share its tests: by file, so that what a file makes once is made once."""

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId
from xdist.scheduler.loadgroup import LoadGroupScheduling
from xdist.workermanage import WorkerController

WAITING = frozenset(
    {
        *("browser", "celery", "demonstration"),  # groups: other processes work
        *("api/test_read_modes.py", "catalog/test_http_source.py", "replica/test_upstream_cache.py"),
        *("delivery/test_emails.py", "delivery/test_provider_backend.py", "delivery/test_smtp_backend.py"),
        *("faults/test_a_restarted_database.py", "faults/test_database_in_trouble.py"),
        *("flows/test_events_over_the_bus.py", "lib/test_retries_on_engines.py"),
        *("ops/test_backup.py", "ops/test_fuzzing.py", "ops/test_http_worker.py"),
        *("ops/test_serving.py", "ops/test_serving_once.py"),
        *("upstream/test_client.py", "upstream/test_token.py"),
    }
)
"""Groups and files of tests that wait for most of their time: for a time-out, or for another process."""


class FileScheduling(LoadGroupScheduling):
    """Give a worker a whole file at a time, or all tests of one `xdist_group`.

    xdist's own `loadgroup` gives it one test at a time: each worker then makes each file's shared rows, and
    the process that hands out 5,000 tests adds up for each what is left of them all.

    Of three workers or more the last takes what waits, and ends after it. So two cores have two processes
    that compute, and neither is idle. A third that computes would take their turns, not add to them.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope.split("::", maxsplit=1)[0].removeprefix("tests/")

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.numnodes >= 3:
            is_last = node.gateway.id == f"gw{self.numnodes - 1}"
            fitting = [scope for scope in self.workqueue if (scope in WAITING) == is_last]
            if is_last and not fitting:
                node.shutdown()
                return
            self.workqueue.move_to_end(next(iter(fitting or self.workqueue)), last=False)
        super()._assign_work_unit(node)


def name_groups(items: Iterable[pytest.Item]) -> None:
    """Add its `xdist_group` to the id of each test that has one, by which `FileScheduling` finds it.

    xdist 3.8 does so by an attribute that pytest 9.2 does not read any more.
    """
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark and not item.nodeid.endswith(f"@{mark.args[0]}"):
            item._id = NodeId.parse(f"{item.nodeid}@{mark.args[0]}")


def is_whole(session: pytest.Session) -> bool:
    """Return whether a run is of every test, named by nothing but marks and words."""
    return session.config.args_source is pytest.Config.ArgsSource.TESTPATHS


def import_own_share() -> None:
    """Import a share of the tests' modules before all are collected, each process another one.

    The process that imports a module first keeps for the others what pytest makes of its assertions. In a
    fresh clone each would otherwise make all of it, in the same order at the same time: 5 s for each.
    """
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    folder = Path(__file__).parent
    for file in sorted(folder.rglob("test_*.py"))[number :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        with suppress(Exception):  # collecting imports it again and says what is wrong
            import_module(".".join(file.relative_to(folder.parent).with_suffix("").parts))
