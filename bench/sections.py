"""The parts of docs/performance.md beside `make bench`'s: read modes, growth and load, with pictures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import growth, load
from bench.curves import a_decade, knee, picture

Row = Mapping[str, Any]
Pictures = dict[str, str]
"""SVG by the name of its file in docs/images."""

BUSY = 1.0
"""The load average at the start from which on a machine is said to have been busy."""


def measured_on(machine: Row) -> str:
    """Return when and on what figures were taken."""
    state = "busy with other work" if float(machine["load"]) > BUSY else "otherwise idle"
    return (
        f"{machine['date']}; {machine['processor']}, {state} (load average {machine['load']} at the start);\n"
        f"{machine['versions']}."
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> str:
    """Return a table; all columns but the first `len(head) - numbers` are numbers."""
    words = len(head) - numbers
    rule = ["---"] * words + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


# -- An older commit -----------------------------------------------------------------------------------------

AGAINST = """The targets in milliseconds were set as a share of what the code of that time took on one
machine. `make against` asks the same of that code and of this on the machine at hand, in turn. The **share**
is what is left of the time, and the **target** is the share that the targets are."""


def against(rows: Sequence[Row]) -> str:
    """Return what requests take of the time that an older commit took."""
    head = ["request", "then: ms", "now: ms", "share", "target"]
    lines = [
        [
            row["case"],
            f"{row['then_ms']:,.1f}",
            f"{row['now_ms']:,.1f}",
            f"{row['now_ms'] / row['then_ms']:.2f}",
            f"{row['target']:.2f}",
        ]
        for row in rows
    ]
    return "\n\n".join(
        [
            "## See what is left of what requests took",
            AGAINST,
            f"{rows[0]['date']}; commit {rows[0]['commit']}, on PostgreSQL. No mail is sent yet.",
            markdown(head, lines, numbers=4),
        ]
    )


# -- Read modes ----------------------------------------------------------------------------------------------

MODES = """\
Record 0023 replicates content instead of fetching and caching it. The application can do both, so this is one
run of both, in turn, for the same rows: `make modes`. A cache is **warm** where it has an answer for all that
is asked for, and **cold** where it has none, as after a restart, and for each course once in five minutes.
Upstream is a server on loopback, whose own processor time is not counted; with 100 ms it takes that long for
each answer. A cell is processor time (clock) in milliseconds, queries, and requests to upstream."""


def modes(rows: Sequence[Row]) -> str:
    """Return what each read mode costs, and which way it falls."""
    cases: dict[str, dict[tuple[str, int], Row]] = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["cache"], row["delay_ms"]] = row
    columns = [key for key in next(iter(cases.values())) if key != ("warm", 100)]
    names = {("", 0): "replica", ("warm", 0): "cache, warm"}
    head = ["case", *(names.get(key, f"cache, cold; upstream {key[1]} ms") for key in columns)]
    lines = [[case, *(_of_mode(found[key]) for key in columns)] for case, found in cases.items()]
    return "\n\n".join(
        [
            "## See what the replica saves, against fetch and cache",
            MODES,
            measured_on(rows[0]["machine"]),
            markdown(head, lines, numbers=len(columns)),
            "\n".join(_falls(case, found) for case, found in cases.items()),
        ]
    )


def _of_mode(row: Row) -> str:
    return f"{row['ms']:,.1f} ({row['wall_ms']:,.1f}), {row['queries']}, {row['upstream_requests']:g}"


def _falls(case: str, found: Mapping[tuple[str, int], Row]) -> str:
    """Return a sentence on which way it falls."""
    ours, warm, cold, slow = (found[key] for key in (("", 0), ("warm", 0), ("cold", 0), ("cold", 100)))
    ratio = ours["ms"] / warm["ms"]
    way = "as much as" if 0.95 <= ratio <= 1.05 else "less than" if ratio < 1 else "more than"
    waits = slow["upstream_requests"]
    return (
        f"- **{case}**: the replica takes {way} a warm cache in processor time ({ratio:.2f} times). A cold"
        f" one takes {cold['ms'] / ours['ms']:.2f} times what the replica does, and waits for"
        f" {waits:g} {'request' if waits == 1 else 'requests, one after the other'}:"
        f" {waits * slow['delay_ms']:,.0f} ms where upstream takes {slow['delay_ms']}."
    )


# -- Growth --------------------------------------------------------------------------------------------------

GROWTH = """`make growth` makes rows by SQL, measures, and makes ten times as many. Both axes of each picture
are logarithmic: what is flat costs the same however much there is, and what is linear rises by a decade where
there is a decade more. **A decade** is by how much the cost is multiplied where there is ten times as much,
by the line through the points; of what is linear it is that of the two largest sizes, as where there is
little, what a request costs anyway hides the rest. Times are processor time. Memory is the most that Python
had in use at one time during one turn; `make memory` and `make catalogs` have that of large refreshes."""
LIMITS = {
    "budget": "An index descent and a hundred rows, whatever the budget has. Counts read the budget's part of"
    " one index.",
    "budgets": "The indexes begin with the budget: others' rows make them deeper, by a level at most.",
    "learner": "What a request costs; then the rows that are shown.",
    "allocation": "Inserting: an assignment's and its actions' indexes.",
    "sweep": "Inserting the actions; batches of 500, so that no lock is held for long.",
    "catalog": "Parsing and comparing each record; new ones are inserted with their JSON.",
}


def grown(rows: Sequence[Row]) -> tuple[str, Pictures]:
    """Return how cost grows with each thing there may be more of, and the pictures."""
    parts = ["## See how cost grows", GROWTH, measured_on(rows[0]["machine"])]
    pictures: Pictures = {}
    memory: dict[str, list[tuple[float, float]]] = {}
    for name, axis in growth.AXES.items():
        of_axis = [row for row in rows if row["axis"] == name]
        curves = {case: points for case, points in growth.curves(of_axis).items() if len(points) > 1}
        if not curves:
            continue
        file, title = f"growth-{name}.svg", f"Processor time by {axis.title}"
        pictures[file] = picture(title, curves, across=axis.title, up="ms")
        slopes = "; ".join(f"{case} x{growth.growth(case, points):.2f}" for case, points in curves.items())
        parts.append(f"![{title}](images/{file})")
        parts.append(f"*By {axis.title}, a decade: {slopes}.* {LIMITS[name]}")
        parts.append(_of_axis(name, of_axis, curves))
        if name != "budgets":
            memory |= growth.curves(of_axis, what="memory_mb")
    memory = {case: points for case, points in memory.items() if len(points) > 1}
    if memory:
        title = "Memory by the size of the case"
        pictures["growth-memory.svg"] = picture(title, memory, across="size, as above", up="MB")
        slopes = "; ".join(f"{case} x{a_decade(points):.2f}" for case, points in memory.items())
        parts += [f"![{title}](images/growth-memory.svg)", f"*Memory, a decade: {slopes}.*"]
    return "\n\n".join(parts), pictures


def _of_axis(name: str, rows: Sequence[Row], curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return an axis' figures, and whether each case grows no faster than it may."""
    sizes = sorted({row["size"] for row in rows})
    lines = []
    for case, points in curves.items():
        times, most = growth.growth(case, points), growth.EXPECTED[case]
        found = dict(points)
        cells = [f"{found[size]:,.1f}" if size in found else "" for size in sizes]
        within = "yes" if times <= most else "nearly" if times <= growth.ALLOWED[most] else "no"
        lines.append([case, *cells, f"x{times:.2f}", f"x{most:g}", within])
    head = ["ms", *(f"{size:,}" for size in sizes), "a decade", "at most", "within"]
    return markdown(head, lines, numbers=len(head) - 1)


# -- Load ----------------------------------------------------------------------------------------------------

LOAD = """`make load` serves the API by `bursary serve` with two workers. A client in another process sends
it a mix: of a hundred requests 30 are pages of 100 by cursor, 30 a learner's dashboard, 20 one assignment, 10
the list's page in the dashboard, 5 allocations to 10 new learners, and 5 reminders. Each connection sends its
next request when the last one has been answered. Mails are left to workers of their own. Server, database and
client share the machine's processors: the **knee**, from which on more connections bring less than a tenth
more, is where these are all at work."""


def loaded(rows: Sequence[Row]) -> tuple[str, Pictures]:
    """Return what the served API answers at rising concurrency, and its picture."""
    mixed = [row for row in rows if row["case"] == "mix"]
    throughput = [(row["connections"], row["per_second"]) for row in mixed]
    curves = {
        "requests a second": throughput,
        "half within, ms": [(row["connections"], row["p50_ms"]) for row in mixed],
        "99 of 100 within, ms": [(row["connections"], row["p99_ms"]) for row in mixed],
    }
    title = "The served API by connections"
    drawn = picture(title, curves, across="connections", up="a second; ms", fitted=False, base=2)
    head = ["", "connections", "a second", "p50 ms", "p99 ms", "answers"]
    lines = [[row["case"], str(row["connections"]), *_of_load(row)] for row in rows]
    [lists] = [row for row in rows if row["case"] == load.LIST]
    most = mixed[-1]
    kinds = [[name, *_of_load(found)] for name, found in most["kinds"].items()]
    failed, locked = sum(map(load.failures, rows)), rows[-1]["deadlocks"]
    said = (
        f"The knee is at {knee(throughput):g} connections. {failed or 'No'} requests had a 5xx or no answer;"
        f" there were {locked or 'no'} deadlocks. Lists of 100 alone: {lists['per_second']:,.0f} a second by"
        f" two workers; the aim is {load.LISTS_A_SECOND}."
    )
    parts = [
        "## See what it serves under load",
        LOAD,
        f"{measured_on(rows[0]['machine'])} The budget has {mixed[0]['assignments']:,} assignments.",
        f"![{title}](images/load.svg)",
        f"*{said}*",
        markdown(head, lines, numbers=5),
        f"With {most['connections']} connections, by kind:",
        markdown(["", *head[2:]], kinds, numbers=4),
    ]
    return "\n\n".join(parts), {"load.svg": drawn}


def _of_load(row: Row) -> list[str]:
    answers = ", ".join(f"{count:,} x {status}" for status, count in row["statuses"].items())
    return [f"{row['per_second']:,.1f}", f"{row['p50_ms']:,.0f}", f"{row['p99_ms']:,.0f}", answers]
