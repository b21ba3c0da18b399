"""What docs/performance.md says of read modes, growth and load, from figures as they are measured."""

from typing import Any
from xml.etree import ElementTree

import pytest

from bench import growth, load, report, sections
from bench.load_client import Sent, summary

MACHINE = {
    "engine": "postgres",
    "scale": "x",
    "date": "2026-11-27",
    "processor": "2 x Something",
    "versions": "Python 3.11, PostgreSQL 18.6",
    "load": "0.20",
}


def mode(cache: str, ms: float, *, delay_ms: int = 0, wall_ms: float = 0, asked: int = 0) -> dict[str, Any]:
    figures = {"ms": ms, "wall_ms": wall_ms or ms, "queries": 8, "upstream_requests": asked}
    where = {"mode": "upstream" if cache else "replica", "cache": cache, "delay_ms": delay_ms}
    return {"kind": "modes", "case": "credits, 50", **where, **figures, "machine": MACHINE}


def grown(case: str, *points: tuple[int, float], axis: str = "budget") -> list[dict[str, Any]]:
    return [
        {
            "kind": "growth",
            "axis": axis,
            "case": case,
            "size": size,
            "ms": ms,
            "wall_ms": ms,
            "memory_mb": 1.5,
        }
        | {"machine": MACHINE}
        for size, ms in points
    ]


def sent(connections: int, per_second: float, *, case: str = "mix", **statuses: int) -> dict[str, Any]:
    figures = {"per_second": per_second, "p50_ms": 20.0, "p99_ms": 90.0}
    counted = {name.removeprefix("of_"): count for name, count in (statuses or {"of_200": 9}).items()}
    one = {**figures, "statuses": counted}
    row = {"kind": "load", "case": case, "connections": connections, "assignments": 1_000, "deadlocks": 0}
    return {**row, **one, "kinds": {"credits": one}, "machine": MACHINE}


def test_which_way_the_replica_falls_is_said_either_way() -> None:
    def said(replica: float) -> str:
        cold = mode("cold", 60, asked=1), mode("cold", 60, delay_ms=100, wall_ms=180, asked=1)
        found = [mode("", replica), mode("warm", 40), mode("warm", 40, delay_ms=100), *cold]
        return sections.modes(found)

    assert "takes less than a warm cache in processor time (0.50 times)" in said(20)
    assert "takes more than a warm cache in processor time (1.25 times)" in said(50)
    assert "takes as much as a warm cache" in said(41)
    assert (
        "3.00 times what the replica does, and waits for 1 request: 100 ms where upstream takes 100."
        in said(20)
    )
    assert "| credits, 50 | 20.0 (20.0), 8, 0 | 40.0 (40.0), 8, 0 | 60.0 (60.0), 8, 1 |" in said(20)


def test_growth_is_held_against_what_it_may_be() -> None:
    rows = grown("credits", (1_000, 10), (10_000, 10.5), (100_000, 11))
    rows += grown("look-up", (1_000, 10), (10_000, 14), (100_000, 20))
    written, pictures = sections.grown(rows)

    assert "| credits | 10.0 | 10.5 | 11.0 | x1.05 | x1.15 | yes |" in written
    assert "| look-up | 10.0 | 14.0 | 20.0 | x1.41 | x1.15 | no |" in written
    assert "a decade: credits x1.05; look-up x1.41." in written
    assert set(pictures) == {"growth-budget.svg", "growth-memory.svg"}
    for name, drawn in pictures.items():
        assert f"](images/{name})" in written
        ElementTree.fromstring(drawn)


def test_what_is_linear_is_judged_where_there_is_much() -> None:
    points = [(10, 20.0), (100, 22.0), (1_000, 40.0), (10_000, 600.0)]
    assert growth.growth("allocate", points) == 15
    assert growth.growth("credits", points) < 5


def test_every_case_of_growth_has_what_it_may_be() -> None:
    assert set(growth.EXPECTED.values()) == set(growth.ALLOWED)
    assert set(sections.LIMITS) == set(growth.AXES)


def test_load_names_the_knee_and_what_failed() -> None:
    calm = [sent(1, 40), sent(2, 75), sent(4, 80), sent(8, 120, case=load.LIST)]
    written, pictures = sections.loaded(calm)
    assert (
        "The knee is at 2 connections. No requests had a 5xx or no answer; there were no deadlocks."
        in written
    )
    assert "Lists of 100 alone: 120 a second by two workers; the aim is 100." in written
    ElementTree.fromstring(pictures["load.svg"])

    broken = [sent(1, 40, of_200=5, of_422=1, of_502=3, of_none=1), *calm[1:]]
    assert "4 requests had a 5xx or no answer" in sections.loaded(broken)[0]


def test_a_client_counts_what_it_sent() -> None:
    answers = [Sent("list", 200, float(ms), 0.0) for ms in range(1, 101)]
    found = summary([*answers, Sent("list", 0, 500.0, 0.0)], seconds=2)
    assert found == {"per_second": 50.5, "p50_ms": 51.0, "p99_ms": 100.0, "statuses": {"200": 100, "none": 1}}


@pytest.mark.parametrize("kinds", [["modes"], ["growth", "load"], ["bench", "modes", "growth", "load"]])
def test_the_page_has_what_was_measured_and_no_more(kinds: list[str]) -> None:
    figures = {
        "case": "list, first page",
        "size": 10,
        "floor_ms": None,
        "ours_ms": 5.0,
        "ours_wall_ms": 5.0,
        "target_ms": None,
        "ratio": None,
        "missed": False,
        "limits": "Writing.",
    }
    delays = [mode(cache, 9, delay_ms=delay) for cache in ("warm", "cold") for delay in (0, 100)]
    rows = {
        "bench": [figures | {"machine": MACHINE}, figures | {"machine": MACHINE, "ours_ms": 6.0}],
        "modes": [mode("", 9), *delays],
        "growth": grown("credits", (1_000, 10), (10_000, 10)),
        "load": [sent(1, 40), sent(2, 50), sent(8, 120, case=load.LIST)],
    }
    written, _pictures = report.page(row for kind in kinds for row in rows[kind])

    titles = {
        "modes": "against fetch and cache",
        "growth": "how cost grows",
        "load": "under load",
        "bench": "takes, x",
    }
    assert {kind for kind, title in titles.items() if f"{title}\n" in written} == set(kinds)
    assert ("| list, first page | 10 |  | 6.0 (5.0) |" in written) == ("bench" in kinds)
    assert "otherwise idle (load average 0.20 at the start)" in written


def test_requests_are_compared_with_what_an_older_commit_took() -> None:
    rows = [
        {"kind": "against", "case": "credits, 1", "then_ms": 20.0, "now_ms": 9.0, "target": 0.6}
        | {"commit": "0123abcd", "date": "2026-11-28"}
    ]
    text, _pictures = report.page(rows)
    assert "| credits, 1 | 20.0 | 9.0 | 0.45 | 0.60 |" in text
    assert "2026-11-28; commit 0123abcd, on PostgreSQL." in text
