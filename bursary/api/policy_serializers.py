"""Budgets in enterprise-access' format: a budget is a policy with its assignment configuration."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from bursary.budgets import ledger
from bursary.budgets.models import Budget, NotInUse
from bursary.lib.moments import FAR_FUTURE

CENTS_IN_A_DOLLAR = 100
POLICY_TYPE = "AssignedLearnerCreditAccessPolicy"
UNLIMITED_CENTS = 10**11
"""$1,000,000,000, sent for a budget without a limit: clients read null as zero, and assign nothing."""


def finite(cents: int | None) -> int:
    """Return an amount that may be unlimited as a number of cents."""
    return UNLIMITED_CENTS if cents is None else cents


class ConfigurationOfPolicyOutput(serializers.Serializer[Any]):
    """The assignment configuration of a budget, with its own uuid."""

    uuid = serializers.UUIDField()
    enterprise_customer_uuid = serializers.UUIDField()
    active = serializers.BooleanField()


class AggregatesOutput(serializers.Serializer[Any]):
    """The amounts reserved for open assignments, spent on accepted ones, and still available."""

    amount_allocated_cents = serializers.IntegerField()
    amount_redeemed_cents = serializers.IntegerField()
    spend_available_cents = serializers.IntegerField()
    amount_allocated_usd = serializers.FloatField()
    amount_redeemed_usd = serializers.FloatField()
    spend_available_usd = serializers.FloatField()


class PolicySerializer(serializers.ModelSerializer[Budget]):
    """A budget: a subsidy access policy with its assignment configuration."""

    policy_type = serializers.CharField(
        read_only=True,
        default=POLICY_TYPE,
        help_text="The type of policies that courses are assigned from",
    )
    display_name = serializers.CharField(source="name")
    enterprise_customer_uuid = serializers.UUIDField(source="customer.uuid")
    subsidy_uuid = serializers.UUIDField(source="account.uuid")
    spend_limit = serializers.SerializerMethodField(
        help_text="The limit in cents: the budget's own, else its account's; a large number where `unlimited`"
    )
    unlimited = serializers.SerializerMethodField(
        help_text="Whether neither the budget nor its account has a limit"
    )
    subsidy_active_datetime = serializers.SerializerMethodField(
        help_text="When the budget starts; when it was created if it has no start"
    )
    subsidy_expiration_datetime = serializers.SerializerMethodField(
        help_text="When the budget ends; in the year 9000 if it has no end"
    )
    is_subsidy_active = serializers.SerializerMethodField(help_text="Whether the budget is open now")
    is_late_redemption_allowed = serializers.BooleanField(
        read_only=True,
        default=False,
        help_text="Always false: after its deadline an assignment cannot be redeemed",
    )
    retired = serializers.SerializerMethodField(help_text="Whether the budget is retired")
    not_in_use = serializers.SerializerMethodField(
        help_text="Why the budget is not in use: retired, inactive, not_yet_open or ended; null "
        "while it is in use"
    )
    bnr_enabled = serializers.BooleanField(
        read_only=True, default=False, help_text="Always false: Bursary has no browse-and-request"
    )
    group_associations = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        default=list,
        help_text="Always empty; clients expect an array",
    )
    assignment_configuration = serializers.SerializerMethodField()
    aggregates = serializers.SerializerMethodField()

    class Meta:
        model = Budget
        fields = (
            "uuid",
            "policy_type",
            "display_name",
            "description",
            "active",
            "retired",
            "retired_at",
            "enterprise_customer_uuid",
            "catalog_uuid",
            "subsidy_uuid",
            "spend_limit",
            "unlimited",
            "subsidy_active_datetime",
            "subsidy_expiration_datetime",
            "is_subsidy_active",
            "not_in_use",
            "is_late_redemption_allowed",
            "bnr_enabled",
            "group_associations",
            "assignment_configuration",
            "aggregates",
        )

    def get_spend_limit(self, budget: Budget) -> int:
        """Return the limit in cents; `UNLIMITED_CENTS` without one."""
        return finite(ledger.limit_cents(budget))

    def get_unlimited(self, budget: Budget) -> bool:
        """Return whether nothing limits the budget."""
        return ledger.limit_cents(budget) is None

    def get_subsidy_active_datetime(self, budget: Budget) -> datetime:
        """Return its start; if it has none, its creation, because clients read null as 1970."""
        return budget.starts_at or budget.created

    def get_subsidy_expiration_datetime(self, budget: Budget) -> datetime:
        """Return its end; if it has none, the year 9000, because clients read null as 1970, thus expired."""
        return budget.ends_at or FAR_FUTURE

    def get_is_subsidy_active(self, budget: Budget) -> bool:
        """Return whether the budget is open now."""
        return budget.open_at(self.context.get("now") or timezone.now())

    @extend_schema_field(serializers.ChoiceField(choices=NotInUse.choices, allow_null=True))
    def get_not_in_use(self, budget: Budget) -> str | None:
        """Return why the budget is not in use now, else null."""
        return budget.not_in_use(self.context.get("now") or timezone.now())

    def get_retired(self, budget: Budget) -> bool:
        """Return whether the budget is retired."""
        return budget.retired_at is not None

    @extend_schema_field(ConfigurationOfPolicyOutput)
    def get_assignment_configuration(self, budget: Budget) -> dict[str, Any]:
        """Return the budget as an assignment configuration."""
        return {
            "uuid": str(budget.assignment_configuration_uuid),
            "enterprise_customer_uuid": str(budget.customer.uuid),
            "active": budget.active and budget.retired_at is None,
        }

    @extend_schema_field(AggregatesOutput)
    def get_aggregates(self, budget: Budget) -> dict[str, Any]:
        """Return reserved, spent and available money in cents and in dollars."""
        cents = {
            "amount_allocated": budget.reserved_cents,
            "amount_redeemed": budget.spent_cents,
            "spend_available": finite(ledger.available_cents(budget)),
        }
        return {
            **{f"{name}_cents": amount for name, amount in cents.items()},
            **{f"{name}_usd": amount / CENTS_IN_A_DOLLAR for name, amount in cents.items()},
        }
