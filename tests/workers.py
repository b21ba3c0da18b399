"""How the processes of a test run share its tests: by file, so that what a file makes once is made once."""

from xdist.scheduler.loadgroup import LoadGroupScheduling


class FileScheduling(LoadGroupScheduling):
    """Give a worker a whole file at a time, or all tests of one `xdist_group`.

    xdist's own `loadgroup` gives it one test at a time: each worker then makes each file's shared rows, and
    the process that hands out 5,000 tests adds up for each what is left of them all.
    """

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope.split("::", maxsplit=1)[0]
