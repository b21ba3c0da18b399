"""Leases, locks, pages, chunks, inserts of what may be there, updates of one value a row, back-off, random
waits, the reading of digits and what databases refuse of a text have one place each: `bursary/lib/`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, modules, nodes, place, source_of
from tests.architecture.writes import CREATORS, writes

LEASE_COLUMNS = {"due_at", "early", "lease_until", "fence"}
SET_AT_CREATION = {"due_at", "early"}

ONE_RANGE_NO_LOOP = {"ops/health.py"}
"""Where `pk__gt` bounds a single query: the newest rows."""


def outside(*rooms: str) -> Iterator[Path]:
    """Yield the modules outside `rooms`, paths relative to the package."""
    for module in modules():
        if module.relative_to(PACKAGE).as_posix() not in rooms:
            yield module


def lease_writes(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, column) of each write of a lease's columns that is no creation, or of a dict for one."""
    allowed = {
        (call.lineno, column)
        for call in nodes(source)
        if isinstance(call, ast.Call)
        for column in _may_set(call)
    }
    for write in writes(source):
        if write.column in LEASE_COLUMNS and (write.line, write.column) not in allowed:
            yield write.line, write.column
    for node in nodes(source):
        for key in node.keys if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and key.value in LEASE_COLUMNS - SET_AT_CREATION:
                yield key.lineno, str(key.value)


def _may_set(call: ast.Call) -> set[str]:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in CREATORS - {"update_or_create"} or name[:1].isupper():
        return SET_AT_CREATION
    return set()


def mentions(module: Path, name: str) -> Iterator[int]:
    """Yield the line of each attribute, name or keyword argument called `name`."""
    for node in nodes(source_of(module)):
        match node:
            case ast.Attribute(attr=found) | ast.Name(id=found) | ast.keyword(arg=found) if found == name:
                yield node.lineno


def test_only_leases_write_the_columns_of_a_lease() -> None:
    assert [
        f"{place(module, line)}: {column}"
        for module in outside("lib/leases.py")
        for line, column in lease_writes(source_of(module))
    ] == []


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("select_for_update", "lib/locks.py"),
        ("pk__gt", "lib/batches.py"),
        ("id__gt", "lib/batches.py"),
        ("key__gt", "lib/batches.py"),
        ("content_key__gt", "lib/batches.py"),
        ("isdecimal", "lib/numbers.py"),
        ("isdigit", "lib/numbers.py"),
        ("ignore_conflicts", "lib/inserts.py"),
    ],
)
def test_a_mechanism_is_used_in_its_own_room_alone(name: str, room: str) -> None:
    elsewhere = outside(room, *ONE_RANGE_NO_LOOP)
    assert [place(module, line) for module in elsewhere for line in mentions(module, name)] == []


def lock_orders_by_hand(source: str) -> Iterator[int]:
    """Yield the line of each use of a model's LOCK_ORDER, and of each order by content key beside locks."""
    locks = "from bursary.lib.locks import" in source
    for node in nodes(source):
        match node:
            case ast.Attribute(attr="LOCK_ORDER"):
                yield node.lineno
            case ast.Call(ast.Attribute(attr="order_by"), args=[ast.Constant("content_key"), *_]) if locks:
                yield node.lineno


def test_only_locks_puts_rows_into_the_order_in_which_they_are_locked() -> None:
    assert [
        place(module, line)
        for module in outside("lib/locks.py")
        for line in lock_orders_by_hand(source_of(module))
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "for_update(rows.order_by(*ContentMetadata.LOCK_ORDER))",
        "from bursary.lib.locks import for_update; for_update(rows.order_by('content_key', 'variant'))",
        "from bursary.lib.locks import for_update; for_update(rows).order_by('content_key')",
    ],
)
def test_an_order_of_locks_by_hand_is_found(source: str) -> None:
    assert list(lock_orders_by_hand(source)) == [1]


INVENTS_THE_SAME_EACH_TIME = "ops/demo_year.py"


def test_only_lib_draws_random_numbers_for_waits_and_samples() -> None:
    assert [
        place(module, node.lineno)
        for module in outside(INVENTS_THE_SAME_EACH_TIME)
        if module.relative_to(PACKAGE).parts[0] != "lib"
        for node in nodes(source_of(module))
        if isinstance(node, ast.Import | ast.ImportFrom) and "random" in _imported(node)
    ] == []


def by_hand(source: str) -> Iterator[int]:
    """Yield the line of each back-off and each chunk made by hand: a power of two, and a range in steps."""
    for node in nodes(source):
        match node:
            case ast.BinOp(op=ast.Pow() | ast.LShift(), right=ast.Constant()):
                pass
            case ast.BinOp(op=ast.Pow() | ast.LShift()):
                yield node.lineno
            case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=0), _, _]):
                yield node.lineno


def test_only_lib_backs_off_and_makes_chunks() -> None:
    assert [
        place(module, line)
        for module in modules()
        if module.relative_to(PACKAGE).parts[0] != "lib"
        for line in by_hand(source_of(module))
    ] == []


@pytest.mark.parametrize(
    "source",
    ["wait = first * 2**failures", "wait = 1 << failures", "for start in range(0, len(rows), 500): pass"],
)
def test_a_back_off_and_a_chunk_by_hand_are_found(source: str) -> None:
    assert list(by_hand(source)) == [1]


def values_by_key(source: str) -> Iterator[int]:
    """Yield the line of each CASE in which a branch is a primary key: other values for other rows."""
    for node in nodes(source):
        match node:
            case ast.Call(func=ast.Name(id="When"), keywords=keywords):
                if {"pk", "pk__in"} & {one.arg for one in keywords}:
                    yield node.lineno


def test_only_lib_writes_other_values_to_other_rows_in_one_update() -> None:
    assert [
        place(module, line)
        for module in outside("lib/updates.py")
        for line in values_by_key(source_of(module))
    ] == []


@pytest.mark.parametrize("source", ["Case(When(pk=pk, then=Value(at)))", "Case(When(pk__in=pks, then=at))"])
def test_values_that_are_written_by_hand_are_found(source: str) -> None:
    assert list(values_by_key(source)) == [1]


def storable_by_hand(source: str) -> Iterator[int]:
    """Yield the line of each pattern for what databases refuse of a text, and of each replaced NUL."""
    for node in nodes(source):
        match node:
            case ast.Constant(value=str(text)) if re.fullmatch(r"\[.*(\ud800|\\ud800).*]", text):
                found = [re.search(text, character) is not None for character in "\0\ud800\x01\n"]
                if found == [True, True, False, False]:
                    yield node.lineno
            case ast.Call(func=ast.Attribute(attr="replace"), args=[ast.Constant(value="\0"), _]):
                yield node.lineno


def test_only_lib_makes_texts_storable() -> None:
    assert [
        place(module, line)
        for module in modules()
        if module.relative_to(PACKAGE).parts[0] != "lib"
        for line in storable_by_hand(source_of(module))
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        r"UNSTORABLE = re.compile('[\0\ud800-\udfff]')",
        r"UNSTORABLE = re.compile(r'[\x00\ud800-\udfff]')",
        r"text.replace('\0', '')",
    ],
)
def test_a_text_that_is_made_storable_by_hand_is_found(source: str) -> None:
    assert list(storable_by_hand(source)) == [1]


def _imported(node: ast.Import | ast.ImportFrom) -> set[str | None]:
    return {node.module} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}


@pytest.mark.parametrize(
    "source",
    [
        "rows.update(due_at=now)",
        "rows.update(fence=F('fence') + 1)",
        "row.lease_until = None",
        "Row.objects.bulk_update(rows, ['early'])",
        "row.save(update_fields=['due_at'])",
        "Row.objects.update_or_create(pk=1, defaults={'due_at': now})",
        "Row(fence=3)",
        "rows.update(status=Status.SUPERSEDED, fence=3)",
        "rows.update(status=Status.SUPERSEDED, lease_until=None)",
        "columns = {'due_at': None, 'lease_until': None}",
    ],
)
def test_a_write_of_a_lease_is_found(source: str) -> None:
    assert [line for line, _column in lease_writes(source)] == [1]


@pytest.mark.parametrize(
    "source",
    [
        "Row(due_at=now, early=0)",
        "Row.objects.create(due_at=now)",
        "rows.update(status=Status.SUPERSEDED, **leases.finished_columns())",
        "rows.filter(fence=3)",
        "leases.settle([row], due_at=None, now=now)",
    ],
)
def test_what_creates_a_row_may_date_it_and_what_supersedes_one_asks_leases(source: str) -> None:
    assert list(lease_writes(source)) == []
