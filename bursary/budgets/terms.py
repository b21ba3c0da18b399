"""The only writer of a budget's terms. It sends `budget_changed` for each change."""

from collections.abc import Mapping
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.dispatch import Signal

from bursary.budgets.models import Budget
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks

budget_changed = Signal()
"""Sent inside the writer's transaction with `pks`, the budgets with changed terms, and `now`.
A receiver's exception rolls the change back."""

TERMS = frozenset(
    {
        "name",
        "description",
        "catalog_uuid",
        "limit_cents",
        "starts_at",
        "ends_at",
        "allocation_age_days",
        "remind_days_after",
        "remind_days_before",
        "nudge_days_before",
        "active",
        "retired_at",
    }
)


@repeated_after_deadlocks
def change(budget: Budget, *, now: datetime, terms: Mapping[str, object]) -> Budget:
    """Change a budget's terms, and send `budget_changed` in the same transaction.

    `limit_cents` may be lowered below the reserved amount; then nothing is reserved until there is room.
    Raises TypeError for a field that is not a term, ValidationError for an invalid value.
    """
    if unknown := sorted(set(terms) - TERMS):
        raise TypeError(f"Not a budget's terms: {', '.join(unknown)}.")
    # Django's validation accepts None for a field with `blank=True`, even if its column is NOT NULL.
    fields = {field.name: field for field in Budget._meta.fields}
    nothing = [fields[term] for term, value in terms.items() if value is None and not fields[term].null]
    if nothing:
        raise ValidationError({field.name: str(field.error_messages["null"]) for field in nothing})
    with transaction.atomic():
        locked = for_update(Budget.objects.all()).get(pk=budget.pk)
        for term, value in terms.items():
            setattr(locked, term, value)
        locked.full_clean()
        locked.save(update_fields=[*terms, "modified"])
        budget_changed.send(sender=Budget, pks=[locked.pk], now=now)
    return locked
