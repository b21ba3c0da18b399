"""How what upstream answered gets in: parsed record by record, then stored in one short transaction.

`guard.py` decides, `upsert.py` has the statements. One record that cannot be used stops nobody.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from django.db import DataError, IntegrityError
from django.dispatch import Signal

from bursary.catalog import parser
from bursary.catalog.parser import Content, ContentType
from bursary.lib.retries import in_transaction
from bursary.replica import memberships, merge, store
from bursary.replica.merge import FetchContext
from bursary.replica.models import ContentMetadata
from bursary.replica.report import RefreshReport, RejectedRecord

content_changed = Signal()
"""Sent inside the writer's transaction, once a batch, with `pks`, the content that was created, changed, or
left or joined a catalog, and `now`. A receiver's exception rolls the batch back."""

BATCH = 50  # records a transaction, and keys a question; some 200 rows, as courses bring their runs

_REFUSED_VALUES = (DataError, IntegrityError, OverflowError, UnicodeEncodeError)


class _NotStorable(Exception):
    """The database refused a value of the batch; nothing of the batch was written."""


def ingest(batch: Sequence[object], *, look: FetchContext, dry_run: bool = False) -> RefreshReport:
    """Bring in what upstream answered, at most `BATCH` elements; a dry run judges and writes nothing."""
    fit, held_back = _without_quarantined(batch)
    records, unusable = _parsed(fit, held_back=held_back)
    report = RefreshReport(records=len(batch), quarantined=len(held_back))
    report += RefreshReport.of_unusable(one for one, _digest in unusable)
    if dry_run:
        chosen, lost = merge.choose_records(records)
        verdicts = store.forecast(chosen, look=look)
        named = [key for key, verdict in verdicts.items() if _is_listed(chosen[key], verdict)]
        return report + RefreshReport.of([*verdicts.items(), *lost]) + RefreshReport(listed=len(named))
    report += _bring_in(records, look=look)
    fine = {record.content_key for record in records}
    _quarantine([(one, digest) for one, digest in unusable if one.key not in fine], look=look)
    _see(held_back, look=look)
    return report


def _is_listed(content: Content, verdict: merge.MergeDecision) -> bool:
    return (
        verdict is not merge.MergeDecision.REFUSED_TYPE and content.content_type is not ContentType.COURSERUN
    )


def _without_quarantined(batch: Sequence[object]) -> tuple[list[object], list[str]]:
    """Return what is to be tried, and the keys of what could not be used before and is still the same."""
    keys = [parser.own_key(raw) for raw in batch]
    known = store.quarantined(filter(None, keys))
    if not known:
        return list(batch), []
    fit: list[object] = []
    held_back: list[str] = []
    for raw, key in zip(batch, keys, strict=True):
        if key in known and parser.fingerprint(raw) == known[key]:
            held_back.append(key)
        else:
            fit.append(raw)
    return fit, held_back


def _parsed(
    fit: Sequence[object], *, held_back: Collection[str]
) -> tuple[list[Content], list[tuple[RejectedRecord, str]]]:
    """Return the records that can be used, and of the others one a key with its fingerprint.

    Upstream may serve two that differ under one key, again and again: where either is known, it is no news.
    """
    records: list[Content] = []
    unusable: list[tuple[RejectedRecord, str]] = []
    met = set(held_back)
    for raw in fit:
        try:
            records.append(parser.parse(raw))
        except parser.UnusableRecord as bad:
            if bad.content_key not in met:
                left_out = RejectedRecord(bad.content_key, bad.reason, bad.detail)
                unusable.append((left_out, parser.fingerprint(raw)))
            if bad.content_key:
                met.add(bad.content_key)
    return records, unusable


def _bring_in(records: Sequence[Content], *, look: FetchContext) -> RefreshReport:
    """Store the records. Where the database refuses a value, halve until the culprit stands alone."""
    if not records:
        return RefreshReport()
    chosen, lost = merge.choose_records(records)
    try:
        return in_transaction(_writing(chosen, look=look)) + RefreshReport.of(lost)
    except _NotStorable as refusal:
        if len(records) == 1:
            culprit = RejectedRecord(records[0].content_key, "not_storable", str(refusal))
            _quarantine([(culprit, records[0].digest)], look=look)
            return RefreshReport.of_unusable([culprit])
    middle = len(records) // 2
    return _bring_in(records[:middle], look=look) + _bring_in(records[middle:], look=look)


def _writing(chosen: Mapping[str, Content], *, look: FetchContext) -> Callable[[], RefreshReport]:
    def write() -> RefreshReport:
        try:
            judgements = store.store(chosen, look=look)
        except _REFUSED_VALUES as error:
            raise _NotStorable(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
        if pks := store.to_announce(judgements):
            content_changed.send(sender=ContentMetadata, pks=pks, now=look.now)
        verdicts = RefreshReport.of([(one.content.content_key, one.verdict) for one in judgements])
        return verdicts + RefreshReport(listed=len(memberships.held(judgements)))

    return write


def _quarantine(unusable: Sequence[tuple[RejectedRecord, str]], *, look: FetchContext) -> None:
    errors = {one.key: (f"{one.reason}: {one.detail}", digest) for one, digest in unusable if one.key}
    if errors:
        in_transaction(lambda: store.quarantine(errors))
        _see(errors.keys(), look=look)


def _see(keys: Collection[str], *, look: FetchContext) -> None:
    """What cannot be used is there all the same."""
    if keys:
        in_transaction(lambda: store.see(keys, look=look))
