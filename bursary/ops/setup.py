"""Setup of a customer with its administrator, an account and a budget, each made once."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from bursary.access.models import ApiKey, Role, User
from bursary.budgets.models import Account, Budget, Customer
from bursary.lib import moments
from bursary.ops import accounts
from bursary.ops.accounts import Person

KEY_NAME = "setup"
UNLIMITED = "unlimited"


@dataclass(frozen=True)
class SetupPlan:
    """The customer, administrator and budget that should exist after the setup."""

    customer: str
    slug: str
    time_zone: str
    administrator: Person
    budget: str
    limit_cents: int | None
    catalog_uuid: UUID
    ends: str = ""
    """The budget's end, read in the customer's time zone by `moments.parse`; empty for none."""
    account_limit_cents: int | None = None


@dataclass
class SetUp:
    """The result: what exists, which of it was made now, and only the secrets that were made now."""

    customer: Customer
    administrator: User
    budget: Budget
    made: tuple[str, ...] = ()
    password: str = ""
    api_key: str = ""

    def summary(self) -> dict[str, object]:
        """Return the result as plain values."""
        ends_at = self.budget.ends_at
        return {
            "changed": bool(self.made),
            "made": list(self.made),
            "customer": {"uuid": self.customer.uuid, "slug": self.customer.slug, "name": self.customer.name},
            "administrator": {
                "username": self.administrator.username,
                "email": self.administrator.email,
                "password": self.password or None,
                "api_key": self.api_key or None,
            },
            "budget": {
                "uuid": self.budget.uuid,
                "assignment_configuration_uuid": self.budget.assignment_configuration_uuid,
                "name": self.budget.name,
                "catalog_uuid": self.budget.catalog_uuid,
                "limit_cents": self.budget.limit_cents,
                "ends_at": ends_at and moments.iso(ends_at, zone=self.customer.zone),
            },
        }


def set_up(plan: SetupPlan, *, dry_run: bool = False, new_key: bool = False) -> SetUp:
    """Make the missing parts of the plan in one transaction. Existing ones stay as they are.

    Raises ValidationError for invalid values; nothing is made then.
    """
    with transaction.atomic():
        customer, new_customer = _customer(plan)
        administrator, new_administrator = accounts.ensure_user(plan.administrator)
        new_role = accounts.ensure_role(administrator, Role.ADMINISTRATOR, customer)
        budget, new_budget = _budget(plan, customer)
        made = {
            "customer": new_customer,
            "administrator": new_administrator,
            "role": new_role,
            "budget": new_budget,
            "api key": new_key or new_administrator,
        }
        done = SetUp(customer, administrator, budget, tuple(name for name, new in made.items() if new))
        if dry_run:
            transaction.set_rollback(True)
        elif new_administrator:
            credentials = accounts.issue_credentials(administrator, key_name=KEY_NAME)
            done.password, done.api_key = credentials.password, credentials.api_key
        elif new_key:
            _row, done.api_key = ApiKey.issue(administrator, name=KEY_NAME)
    return done


def cents(text: str) -> int | None:
    """Return an amount of dollars, such as 5000 or 149.50, in cents; None for `unlimited`.

    Raises ValueError for anything else.
    """
    if text.strip().lower() == UNLIMITED:
        return None
    try:
        exact = Decimal(text.strip().removeprefix("$").replace(",", "")) * 100
    except InvalidOperation as error:
        raise ValueError("A limit is an amount of dollars, such as 5000.00, or `unlimited`.") from error
    if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value():
        raise ValueError("A limit is zero or more dollars, in whole cents, or `unlimited`.")
    return int(exact)


def _customer(plan: SetupPlan) -> tuple[Customer, bool]:
    known = Customer.objects.filter(slug=plan.slug).first()
    if known is not None:
        return known, False
    customer = Customer(name=plan.customer, slug=plan.slug, time_zone=plan.time_zone)
    customer.full_clean()
    customer.save()
    return customer, True


def _budget(plan: SetupPlan, customer: Customer) -> tuple[Budget, bool]:
    known = Budget.objects.filter(customer=customer, name=plan.budget).order_by("pk").first()
    if known is not None:
        return known, False
    account = Account.objects.filter(customer=customer).order_by("pk").first()
    if account is None:  # the customer's budgets share one account
        account = Account(customer=customer, name=customer.name, limit_cents=plan.account_limit_cents)
        account.full_clean()
        account.save()
    try:
        ends_at = moments.parse(plan.ends, zone=customer.zone, end_of_day=True) if plan.ends else None
    except moments.MomentUnreadable as unreadable:
        raise ValidationError(f"--ends {plan.ends}: {unreadable}") from unreadable
    uuid = uuid4()
    budget = Budget(
        uuid=uuid,
        assignment_configuration_uuid=uuid,
        customer=customer,
        account=account,
        name=plan.budget,
        catalog_uuid=plan.catalog_uuid,
        limit_cents=plan.limit_cents,
        ends_at=ends_at,
    )
    budget.full_clean()
    budget.save()
    return budget, True


def catalog_hint(budget: Budget) -> str:
    """Return the instruction where to put the budget's catalog, if catalogs are files in a folder."""
    address = urlsplit(settings.CATALOG_URL)
    folder = Path(unquote(address.path))
    if address.scheme != "file" or folder.is_file():
        return ""
    return (
        f"put the catalog into {folder / f'{budget.catalog_uuid}.jsonl'} (docs/operations.md says how), then "
    )
