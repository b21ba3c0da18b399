"""Writes docs/performance.md, with its pictures, from measured figures: `python -m bench.report FILE …`."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import sections
from bench.targets import TARGETS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
IMAGES = PAGE.parent / "images"

HEAD = """# How fast it is, and why not faster

Read this page to judge whether Bursary is fast enough for you, and to see what a change has cost. It is
written by `make performance`, from the figures that are there: edit `bench/report.py` and `bench/sections.py`
rather than this page.

## Read the tables

- **Floor** is SQL written by hand for the same work, in the same process, in turn with ours. A test proves
  that both leave the same rows (`tests/bench/test_floors.py`). A case without one is measured alone.
- **Processor** is processor time: of the process, and of the database's work for it. Targets hold for it.
  What else the machine does changes it less. **Clock** is what passed meanwhile; on a busy machine it says
  little.
- **Target** is the most that ours should take, where there is a target; **within** says whether it does:
  `yes`, `nearly` (up to half as much again, which `make bench` lets pass), or `no`.
- A ratio says more than milliseconds: neighbours on the processor slow both sides. Targets in milliseconds
  are meant for an idle machine with two cores.
- Every figure is a median of five turns or more, in milliseconds.

## Measure it yourself

```console
$ make bench                          # SQLite and PostgreSQL, small; a few minutes
$ make bench SCALE=1m DB=postgres     # a budget of a million assignments; also DB=mariadb, DB=sqlite
$ make against                        # requests by this code and by an older commit's; two minutes
$ make modes                          # the replica against fetch and cache; some minutes
$ make growth                         # how cost grows, to a million; MOST=10000 for a few minutes
$ make load                           # the served API under load; a few minutes
$ make performance                    # this page anew, from the last figures of each of these
```

`make bench` ends with an error where a case takes half as much again as its target. Other measurements have
targets of their own: `make memory`, `make catalogs`, `make pages`, `make mails`.
"""


def within(row: Mapping[str, Any]) -> str:
    """Return whether a case keeps its target."""
    if row["target_ms"] is None:
        return ""
    if row["missed"]:
        return "no"
    return "yes" if row["ours_ms"] <= row["target_ms"] else "nearly"


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| case | size | floor: processor (clock) | ours: processor (clock) | ratio | target | within |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        floor = "" if row["floor_ms"] is None else f"{row['floor_ms']:,.1f} ({row['floor_wall_ms']:,.1f})"
        ours = f"{row['ours_ms']:,.1f} ({row['ours_wall_ms']:,.1f})"
        target = "" if row["target_ms"] is None else f"{row['target_ms']:,.1f}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(
            f"| {row['case']} | {row['size']:,} | {floor} | {ours} | {ratio} | {target} | {within(row)} |"
        )
    return "\n".join(lines)


def page(rows: Iterable[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return the page, and its pictures by the names of their files."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row.get("kind", "bench"), []).append(row)
    parts, pictures = [HEAD.rstrip()], dict[str, str]()
    if found := by_kind.get("bench"):
        parts += against_the_floor(found)
    if found := by_kind.get("against"):
        parts.append(sections.against(found))
    if found := by_kind.get("modes"):
        parts.append(sections.modes(found))
    for kind, section in (("growth", sections.grown), ("load", sections.loaded)):
        if found := by_kind.get(kind):
            written, drawn = section(found)
            parts.append(written)
            pictures |= drawn
    parts.append("## See where the targets come from")
    parts.append(
        "They stand in `bench/targets.py`.\n\n| case | at most | from |\n| --- | --- | --- |\n"
        + "\n".join(f"| {case} | {target} | {target.source} |" for case, target in TARGETS.items())
    )
    return "\n\n".join(parts) + "\n", pictures


def against_the_floor(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a table for each engine and scale, and what limits each case; a case's last figure counts."""
    runs: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    limits: dict[str, str] = {}
    for row in rows:
        runs.setdefault((row["machine"]["engine"], row["machine"]["scale"]), {})[row["case"]] = row
        limits[row["case"]] = row["limits"]
    parts = []
    for (_engine, scale), found in runs.items():
        on = next(iter(found.values()))["machine"]
        parts += [
            f"## See what {on['versions'].rpartition(', ')[2]} takes, {scale}",
            sections.measured_on(on),
            table(found.values()),
        ]
    parts.append("## See what limits each case")
    parts.append("\n".join(f"- **{case}**: {said}" for case, said in limits.items()))
    return parts


def main() -> None:
    """Write the page and the pictures, in place of all earlier ones."""
    if not sys.argv[1:]:
        sys.exit("Nothing has been measured yet: begin with make bench.")
    lines = [line for file in sys.argv[1:] for line in Path(file).read_text(encoding="utf-8").splitlines()]
    written, pictures = page(json.loads(line) for line in lines)
    PAGE.write_text(written, encoding="utf-8")
    for file in IMAGES.glob("*.svg"):
        file.unlink()
    for name, drawn in pictures.items():
        (IMAGES / name).write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
