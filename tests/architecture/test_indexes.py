"""MySQL has no partial index and no conditional unique constraint: Django would leave them out there."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db.models import Index, Model, UniqueConstraint

MODELS = [
    model
    for model in apps.get_models(include_auto_created=True)
    if model._meta.app_config.name.startswith("bursary.")
]
NEEDS = ("condition", "include", "nulls_distinct", "deferrable", "opclasses", "expressions")
"""Options that no engine but some have."""


def needs(model: type[Model]) -> Iterator[str]:
    """Yield each option of an index or a unique constraint that MySQL or MariaDB does not have."""
    meta = model._meta
    for one in [*meta.indexes, *(it for it in meta.constraints if isinstance(it, UniqueConstraint))]:
        options = [option for option in NEEDS if getattr(one, option, None) not in (None, (), [])]
        if isinstance(one, Index) and type(one) is not Index:
            options.append(type(one).__name__)
        if any(field.startswith("-") for field in one.fields):
            options.append("a descending column")  # MariaDB: from 10.8 on
        yield from (f"{one.name}: {option}" for option in options)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_engine_has_each_index_and_constraint_whole(model: type[Model]) -> None:
    assert list(needs(model)) == []
