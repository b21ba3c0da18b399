"""How many files a reader opens to follow one thought from end to end: counted by running it.

A file counts if one of its functions is called on the way: from the catalog's file until the row is stored,
and from `allocate()` until the mail's action is. What a refresh does after that, such as removing what the
catalog no longer lists, is another thought. `lib/`, error types and settings do not count. Nor do receivers
of signals in layers above, and no call below them: `derived` follows a change, and asks the replica for more.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.catalog.source import open_source
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.architecture.source import PACKAGE
from tests.replica.listing import a_course
from tests.world import ALICE, CATALOG, NOW, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

# Decision 0001 says what was put together, and why.
PAYLOAD_TO_ROW = 14
ALLOCATION_TO_QUEUED_MAIL = 15


def files_of(path: Callable[[], object], *, layers: set[str]) -> list[str]:
    """Run `path`; return the files in which it called functions, except from layers above `layers`."""
    called: set[Path] = set()
    inside = f"{PACKAGE}/"

    def trace(frame: FrameType, _event: str, _argument: object) -> None:
        if not frame.f_code.co_name.startswith("<"):  # imports and comprehensions call no function
            file = frame.f_code.co_filename
            if file.startswith(inside) and Path(file) not in called and not below_another_layer(frame.f_back):
                called.add(Path(file))

    def below_another_layer(frame: FrameType | None) -> bool:
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(inside) and Path(file).relative_to(PACKAGE).parts[0] not in {*layers, "lib"}:
                return True
            frame = frame.f_back
        return False

    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        path()
    finally:
        sys.setprofile(before)
    files = {file.relative_to(PACKAGE) for file in called}
    return sorted(file.as_posix() for file in files if file.parts[0] in layers and file.name != "errors.py")


def stop_counting() -> None:
    """End the path here: the row is stored."""
    assert ContentMetadata.objects.exists()
    sys.setprofile(None)


def test_a_payload_becomes_a_row_through_few_files(tmp_path: Path) -> None:
    (tmp_path / f"{CATALOG}.jsonl").write_text(json.dumps(a_course()))
    source = open_source(f"file://{tmp_path}/")

    files = files_of(
        lambda: refresh.refresh_catalog(
            CATALOG,
            source=source,
            now=NOW,
            trigger=RefreshTrigger.CRON,
            on_progress=lambda _records: stop_counting(),
        ),
        layers={"catalog", "replica"},
    )

    assert ContentMetadata.objects.exists()
    assert len(files) <= PAYLOAD_TO_ROW, files


def test_an_allocation_queues_its_mail_through_few_files() -> None:
    budget, content = given_budget(), given_content()

    files = files_of(
        lambda: allocate(budget, content, ALICE),
        layers={"replica", "budgets", "access", "assignments"},
    )

    assert LearnerContentAssignmentAction.objects.filter(action_type="notified").exists()
    assert len(files) <= ALLOCATION_TO_QUEUED_MAIL, files
