"""Tests that share costly processes run in one process of the test run, by the group in their id."""

import os

import pytest


@pytest.mark.xdist_group("groups")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_the_id_of_a_test_ends_with_its_group(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@groups")
