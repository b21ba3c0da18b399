"""The report of `audit_content`: plain values for programs, sentences and a table for people."""

from dataclasses import asdict

from rich.console import RenderableType
from rich.markup import escape

from bursary.ops import console
from bursary.ops.derived_report import SHOWN
from bursary.replica.audit import ContentAudit, Finding


def summary(audit: ContentAudit, *, threshold: float) -> dict[str, object]:
    """Return the audit as plain values."""
    return {
        "looked_at": audit.looked_at,
        "drifted_percent": round(audit.drifted_percent, 3),
        "threshold_percent": threshold,
        "counts": {finding.value: audit.counts[finding] for finding in Finding},
        "thin": audit.thin,
        "unavailable": {str(uuid): why for uuid, why in audit.unavailable.items()},
        "found": [asdict(found) for found in audit.found],
    }


def sentence(audit: ContentAudit) -> str:
    """Return the audit's result in one line."""
    parts = [f"{audit.counts[finding]} {finding}" for finding in Finding if audit.counts[finding]]
    if audit.thin:
        parts.append(f"{audit.thin} with a summary record alone at the moment")
    if silent := len(audit.unavailable):
        parts.append(f"no answer of {silent} catalog{'s' if silent > 1 else ''}")
    listed = ", ".join(parts)
    if not audit.looked_at:
        return f"Nothing was compared{f': {listed}' if listed else ''}."
    return f"{audit.looked_at} compared: {listed or 'all agree'} ({audit.drifted_percent:.1f} % drift)."


def failure(audit: ContentAudit, *, threshold: float) -> str:
    """Return why the audit counts as failed, with what to do; empty if it does not."""
    reasons = [f"Catalog {uuid}: {why}" for uuid, why in sorted(audit.unavailable.items())]
    if not audit.looked_at and not audit.unavailable:
        reasons.append(
            "Nothing was compared: there is no content to ask for, or none that can be compared. "
            "`bursary refresh_content` fetches content; --catalog takes a catalog that holds some of it."
        )
    if audit.drifted_percent > threshold:
        reasons.append(
            f"{audit.drifted_percent:.1f} % drift is more than {threshold:g} %. "
            "`bursary refresh_content --key KEY` refreshes a key; `bursary explain_content KEY` explains it."
        )
    return " ".join(reasons)


def table(audit: ContentAudit) -> RenderableType:
    """Return the first findings as a table, a line for each field that differs."""
    made = console.table("catalog", "content", "finding", "field", "replica", "upstream", "agreed last (UTC)")
    for found in audit.found[:SHOWN]:
        agreed = f"{found.checked_at:%Y-%m-%d %H:%M}" if found.checked_at else ""
        lines = [(one.field, escape(str(one.ours)), escape(str(one.theirs))) for one in found.differences]
        for line in lines or [("", "", escape(found.detail))]:
            made.add_row(str(found.catalog_uuid), escape(found.content_key), found.finding, *line, agreed)
    return made
