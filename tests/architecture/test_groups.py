"""Tests that share costly processes run in one process of the test run, those that wait in another one."""

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engines import TESTS
from tests.workers import WAITING, FileScheduling


@pytest.mark.xdist_group("groups")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_the_id_of_a_test_ends_with_its_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@groups")


class Node:
    """A process of a test run, which runs what it is given when the test asks it to."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


WAITS = ["tests/catalog/test_http_source.py::test_a", "tests/browser/test_a.py::test_a@browser"]
COMPUTES = [f"tests/api/test_{letter}.py::test_a" for letter in "abcdef"]


def scheduled(collection: list[str], number: int) -> tuple[FileScheduling, list[Node]]:
    """Hand out the first tests of a run by so many processes."""
    option = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(option=option, getvalue=lambda _name: ["popen"] * number)
    scheduling, nodes = FileScheduling(config), [Node(f"gw{index}") for index in range(number)]
    for node in nodes:
        scheduling.add_node(node)
        scheduling.add_node_collection(node, collection)
    scheduling.schedule()
    return scheduling, nodes


def ran(scheduling: FileScheduling, node: Node, collection: list[str]) -> list[str]:
    """Let a process run all that it is given, and return it."""
    for index in node.given:  # grows meanwhile
        scheduling.mark_test_complete(node, index)
    return [collection[index] for index in node.given]


def test_of_three_processes_the_last_takes_what_waits_and_then_ends() -> None:
    collection = [*WAITS, *COMPUTES]
    scheduling, nodes = scheduled(collection, 3)
    assert ran(scheduling, nodes[2], collection) == WAITS
    assert nodes[2].shutting_down
    assert ran(scheduling, nodes[0], collection) + ran(scheduling, nodes[1], collection) == [
        *(COMPUTES[0], COMPUTES[2], *COMPUTES[4:]),
        *(COMPUTES[1], COMPUTES[3]),
    ]
    assert scheduling.tests_finished


def test_what_waits_is_run_by_the_others_once_nothing_else_is_left() -> None:
    last = "tests/upstream/test_token.py::test_a"
    collection = [*WAITS, last, *COMPUTES]
    scheduling, nodes = scheduled(collection, 3)
    assert ran(scheduling, nodes[0], collection)[-2:] == [COMPUTES[-1], last]
    assert ran(scheduling, nodes[2], collection) == WAITS
    ran(scheduling, nodes[1], collection)
    assert scheduling.tests_finished


def test_where_nothing_waits_the_last_of_three_processes_ends_at_once() -> None:
    scheduling, nodes = scheduled(COMPUTES, 3)
    assert nodes[2].shutting_down
    assert not nodes[2].given
    ran(scheduling, nodes[0], COMPUTES)
    ran(scheduling, nodes[1], COMPUTES)
    assert scheduling.tests_finished


def test_two_processes_take_what_waits_as_all_else() -> None:
    collection = [*COMPUTES[:2], *WAITS, *COMPUTES[2:]]
    scheduling, nodes = scheduled(collection, 2)
    assert ran(scheduling, nodes[0], collection) == [collection[0], collection[2], *collection[4:]]
    assert ran(scheduling, nodes[1], collection) == [collection[1], collection[3]]


def test_what_waits_is_there() -> None:
    files = {name for name in WAITING if name.endswith(".py")}
    assert [name for name in files if not (TESTS / name).exists()] == []
    marked = "".join(file.read_text() for file in TESTS.rglob("*.py"))
    assert [name for name in WAITING - files if f'xdist_group("{name}")' not in marked] == []
