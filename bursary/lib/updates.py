"""One UPDATE that writes other values to other rows."""

from collections import defaultdict
from collections.abc import Hashable, Mapping

from django.db.models import Case, Value, When
from django.db.models.expressions import Combinable


def by_key(values: Mapping[int, Hashable], *, key: str = "pk", default: Combinable | None = None) -> Case:
    """Return the expression by which an update writes to each row the value of its `key`.

    Rows with another key get `default`. There is one branch a value: with one a row, as in `bulk_update`, it
    takes quadratic time, and most rows share their value. A `Parameter` of a prepared update does the same.
    """
    keys: dict[Hashable, list[int]] = defaultdict(list)
    for one, value in values.items():
        keys[value].append(one)
    branches = (When(**{f"{key}__in": some}, then=Value(value)) for value, some in keys.items())
    return Case(*branches, default=default)
