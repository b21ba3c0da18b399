"""What an audit of the replica found, in words and as plain values."""

from dataclasses import asdict

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from bursary.ops.derived_report import SHOWN
from bursary.replica.audit import ContentAudit, Finding, Found

LONGEST_VALUE = 60  # characters of a value that a table shows


def summary(audit: ContentAudit, *, threshold: float) -> dict[str, object]:
    """Return the audit as plain values."""
    return {
        "looked_at": audit.looked_at,
        "drifted_percent": round(audit.drifted_percent, 3),
        "threshold_percent": threshold,
        "counts": {finding.value: audit.counts[finding] for finding in Finding},
        "thin": audit.thin,
        "unavailable": {str(uuid): why for uuid, why in audit.unavailable.items()},
        "found": [asdict(one) for one in audit.found],
    }


def sentence(audit: ContentAudit) -> str:
    """Return how it went, in a line."""
    said = [f"{audit.counts[finding]} {finding}" for finding in Finding if audit.counts[finding]]
    if audit.thin:
        said.append(f"{audit.thin} thin just now")
    if audit.unavailable:
        silent = len(audit.unavailable)
        said.append(f"no answer of {silent} catalog{'s' if silent > 1 else ''}")
    if not audit.looked_at:
        return f"Nothing was compared{': ' if said else ''}{', '.join(said)}."
    return (
        f"{audit.looked_at} compared: {', '.join(said) or 'all agree'} ({audit.drifted_percent:.1f} % drift)."
    )


def troubles(audit: ContentAudit, *, threshold: float) -> str:
    """Return why the audit counts as failed, or nothing."""
    said = [f"Catalog {uuid}: {why}" for uuid, why in sorted(audit.unavailable.items())]
    if not audit.looked_at and not audit.unavailable:
        said.append(
            "Nothing was compared: there is nothing here to ask about, or nothing that can be compared. "
            "`bursary refresh_content` brings content in; --catalog takes a catalog that some content is of."
        )
    if audit.drifted_percent > threshold:
        said.append(
            f"{audit.drifted_percent:.1f} % drift is more than {threshold:g} %. "
            "`bursary refresh_content --key KEY` looks again; `bursary explain_content KEY` says why."
        )
    return " ".join(said)


def table(audit: ContentAudit) -> RenderableType:
    """Return the first findings as a table, a line for each field that differs."""
    made = Table("content", "finding", "field", "ours", "theirs", "we agreed last (UTC)")
    for one in audit.found[:SHOWN]:
        when = f"{one.checked_at:%Y-%m-%d %H:%M}" if one.checked_at else ""
        for field, ours, theirs in _lines(one):
            made.add_row(escape(one.content_key), one.finding, field, ours, theirs, when)
    return made


def _lines(one: Found) -> list[tuple[str, str, str]]:
    if not one.differences:
        return [("", "", escape(one.detail))]
    return [(each.field, _brief(each.ours), _brief(each.theirs)) for each in one.differences]


def _brief(value: object) -> str:
    text = str(value)
    return escape(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…")
