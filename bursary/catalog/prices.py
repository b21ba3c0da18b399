"""The price of a course and of a run: the one that upstream normalizes, or that the run lists."""

from bursary.catalog.records import Content
from bursary.catalog.shapes import Json, NormalizedTerms, Notes, listed_cents

Price = tuple[int | None, str]
"""US cents, None for unknown, and the path that they were read from."""


def course_price(
    terms: NormalizedTerms, advertised: Content | None, *, executive_cents: int | None, notes: Notes
) -> Price:
    """Return the normalized price of a course. Upstream serves 0.0 for free and for unknown alike.

    So 0.0 without an advertised run is unknown; with one, it gives way to the price which that run lists.
    """
    path = "normalized_metadata.content_price"
    if terms.content_price == 0 and advertised is None:
        notes.add(f"{path} 0 without an advertised run is not a price")
        return None, path
    if terms.content_price != 0 or advertised is None:
        return terms.content_price, path
    # Without notes: where it matters, the run has them.
    return _listed_price(advertised.payload, advertised.content_key, executive_cents, Notes())


def run_price(
    raw: Json, key: str, terms: NormalizedTerms | None, *, executive_cents: int | None, notes: Notes
) -> Price:
    """Return the normalized price of a run, or the listed one where that is missing or 0.0.

    Only a normalized 0.0 makes a run free: where nothing is normalized and nothing listed, it is unknown.
    """
    if terms and terms.content_price != 0:
        return terms.content_price, f"normalized_metadata_by_run[{key}].content_price"
    listed, path = _listed_price(raw, key, executive_cents, notes)
    return listed if terms else listed or None, path


def _listed_price(run: Json, key: str, executive_cents: int | None, notes: Notes) -> Price:
    """Return the first price above 0, in the order in which upstream itself normalizes; 0 for none.

    An unusable one makes the price unknown (None): the next source would give another price. The last one is
    cut to whole dollars upstream: a seat of 149.50 is served as 149.
    """
    price_cents = listed_cents(run, "fixed_price_usd", notes)
    if price_cents == 0:
        price_cents = executive_cents
    if price_cents == 0:
        price_cents = listed_cents(run, "first_enrollable_paid_seat_price", notes)
    return price_cents, f"course_runs[{key}], the price that it lists"
