"""How the processes of a test run share its tests: by file, so that what a file makes once is made once."""

from collections.abc import Iterable

import pytest
from _pytest.nodeid import NodeId
from xdist.scheduler.loadgroup import LoadGroupScheduling


class FileScheduling(LoadGroupScheduling):
    """Give a worker a whole file at a time, or all tests of one `xdist_group`.

    xdist's own `loadgroup` gives it one test at a time: each worker then makes each file's shared rows, and
    the process that hands out 5,000 tests adds up for each what is left of them all.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope.split("::", maxsplit=1)[0]


def name_groups(items: Iterable[pytest.Item]) -> None:
    """Add its `xdist_group` to the id of each test that has one, by which `FileScheduling` finds it.

    xdist 3.8 does so by an attribute that pytest 9.2 does not read any more.
    """
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark and not item.nodeid.endswith(f"@{mark.args[0]}"):
            item._id = NodeId.parse(f"{item.nodeid}@{mark.args[0]}")
