"""Budgets in the Django admin. Terms change by `terms.change`, so that deadlines follow."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.http import HttpRequest
from django.utils import timezone

from bursary.budgets import terms
from bursary.budgets.models import Account, Budget, Customer, LedgerEntry
from bursary.lib import moments
from bursary.lib.admin import ReadOnlyAdmin, ZonedAdmin
from bursary.lib.moments import MomentField
from bursary.lib.numbers import from_digits


class UndeletableAdmin(ZonedAdmin):
    """Records that cannot be deleted, because other records refer to them."""

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
class CustomerAdmin(UndeletableAdmin):
    organisation_path = "self"
    list_display = ("name", "slug", "time_zone", "created")
    search_fields = ("name", "slug")
    readonly_fields = ("uuid", "created")


@admin.register(Account)
class AccountAdmin(UndeletableAdmin):
    organisation_path = "customer"
    list_display = ("name", "customer", "limit_cents", "reserved_cents", "spent_cents")
    list_select_related = ("customer",)
    search_fields = ("name", "customer__name")
    autocomplete_fields = ("customer",)
    readonly_fields = ("uuid", "reserved_cents", "spent_cents", "created")
    fixed = ("customer",)


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    """A budget, with dates in its organisation's time zone."""

    starts_at = MomentField(required=False, widget=AdminSplitDateTime)
    ends_at = MomentField(required=False, widget=AdminSplitDateTime, end_of_day=True)
    retired_at = MomentField(required=False, widget=AdminSplitDateTime)

    class Meta:
        model = Budget
        fields = (
            *("customer", "account", "name", "description", "catalog_uuid", "limit_cents"),
            *("starts_at", "ends_at", "allocation_age_days"),
            *("remind_days_after", "remind_days_before", "nudge_days_before", "active", "retired_at"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = str(self.data.get("customer", ""))
        customer = self.instance.customer if self.instance.pk else None
        if customer is None and (pk := from_digits(chosen, max_digits=18)) is not None:
            customer = Customer.objects.filter(pk=pk).first()
        zone = customer.zone if customer else moments.UTC_ZONE
        for field in self.fields.values():
            if isinstance(field, MomentField):
                field.zone = zone
                instant = "The end of the day" if field.end_of_day else "The beginning of the day"
                where = zone.key if customer else "the organisation's time zone"
                field.help_text = f"{instant} where no time is given. In {where}."


@admin.register(Budget)
class BudgetAdmin(UndeletableAdmin):
    organisation_path = "customer"
    form = BudgetForm
    list_display = ("name", "customer", "limit_cents", "reserved_cents", "spent_cents", "ends", "active")
    list_select_related = ("customer",)
    list_filter = ("active",)
    search_fields = ("name", "customer__name")
    autocomplete_fields = ("customer", "account")
    readonly_fields = (
        "uuid",
        "assignment_configuration_uuid",
        "reserved_cents",
        "spent_cents",
        "created",
        "modified",
    )
    fixed = ("customer", "account")

    @admin.display(ordering="ends_at")
    def ends(self, budget: Budget) -> str:
        """Return the end in the organisation's time zone."""
        return moments.in_words(budget.ends_at, zone=budget.customer.zone) if budget.ends_at else ""

    def save_model(
        self, request: HttpRequest, obj: Budget, form: "forms.ModelForm[Budget]", change: bool
    ) -> None:
        """Change the terms by `terms.change`; save a new budget directly."""
        if change:
            changed = {term: form.cleaned_data[term] for term in form.changed_data}
            terms.change(obj, now=timezone.now(), terms=changed)
        else:
            obj.save()


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    organisation_path = "budget.customer"
    list_display = ("uuid", "budget", "cents", "state", "created_at", "reversed_at")
    list_select_related = ("budget",)
    list_filter = ("state",)
    search_fields = ("=uuid", "=idempotency_key")
