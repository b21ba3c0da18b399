"""Budgets in the Django admin. Terms change by `terms.change`, so that deadlines follow."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from bursary.budgets import terms
from bursary.budgets.models import Account, Budget, Customer, LedgerEntry
from bursary.lib.admin import ReadOnlyAdmin


class Kept(admin.ModelAdmin):  # type: ignore[type-arg]  # of whichever model registers it
    """Records that may be made and changed, never deleted: others refer to them."""

    fixed: tuple[str, ...] = ()
    """Fields that cannot change once the record is made."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(self.fixed if obj else ())]

    def save_model(self, request: HttpRequest, obj: Any, form: "forms.ModelForm[Any]", change: bool) -> None:
        """Write only changed fields: the ledger may move money in the same row meanwhile."""
        obj.save(update_fields=form.changed_data if change else None)


@admin.register(Customer)
class CustomerAdmin(Kept):
    list_display = ("name", "slug", "time_zone", "created")
    search_fields = ("name", "slug")
    readonly_fields = ("uuid", "created")


@admin.register(Account)
class AccountAdmin(Kept):
    list_display = ("name", "customer", "limit_cents", "held_cents", "spent_cents")
    list_select_related = ("customer",)
    search_fields = ("name", "customer__name")
    autocomplete_fields = ("customer",)
    readonly_fields = ("uuid", "held_cents", "spent_cents", "created")
    fixed = ("customer",)


@admin.register(Budget)
class BudgetAdmin(Kept):
    list_display = ("name", "customer", "limit_cents", "held_cents", "spent_cents", "ends_at", "active")
    list_select_related = ("customer",)
    list_filter = ("active",)
    search_fields = ("name", "customer__name")
    autocomplete_fields = ("customer", "account")
    readonly_fields = (
        "uuid",
        "assignment_configuration_uuid",
        "held_cents",
        "spent_cents",
        "created",
        "modified",
    )
    fixed = ("customer", "account")

    def save_model(
        self, request: HttpRequest, obj: Budget, form: "forms.ModelForm[Budget]", change: bool
    ) -> None:
        """Change the terms by their one writer, which announces it; save a new budget as it is."""
        if change:
            changed = {term: form.cleaned_data[term] for term in form.changed_data}
            terms.change(obj, now=timezone.now(), terms=changed)
        else:
            obj.save()


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ("uuid", "budget", "cents", "state", "created_at", "reversed_at")
    list_select_related = ("budget",)
    list_filter = ("state",)
    search_fields = ("=uuid", "=idempotency_key")
