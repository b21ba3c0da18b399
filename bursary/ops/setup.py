"""Setup of a customer with its administrator, an account and a budget, each made once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import slugify

from bursary.access.models import ApiKey, Role, User
from bursary.budgets.models import Account, Budget, Customer
from bursary.lib import moments
from bursary.ops import accounts
from bursary.ops.accounts import Person

KEY_NAME = "setup"
UNLIMITED = "unlimited"
_AMOUNT = re.compile(r"\$?([0-9]{1,12}|[0-9]{1,3}(,[0-9]{3}){1,3})(\.[0-9]{1,2})?")


@dataclass(frozen=True)
class SetupPlan:
    """The customer, administrator and budget that should exist after the setup."""

    customer: str
    slug: str
    time_zone: str
    """Empty, if not given: a new customer's is UTC."""
    administrator: Person
    budget: str
    limit_cents: int | None
    catalog_uuid: UUID
    ends: str = ""
    """The budget's end, read in the customer's time zone by `moments.parse`; empty for none."""
    account_limit_cents: int | None = None


@dataclass
class SetUp:
    """The result: what exists, which of it was made now, and only the secrets that were made now.

    `differs` names the fields that exist with another value than the plan's, with both: (existing, given).
    """

    customer: Customer
    administrator: User
    budget: Budget
    made: tuple[str, ...] = ()
    password: str = ""
    api_key: str = ""
    differs: Mapping[str, tuple[object, object]] = field(default_factory=dict)

    def summary(self) -> dict[str, object]:
        """Return the result as plain values."""
        return {
            "changed": bool(self.made),
            "made": list(self.made),
            "differs": {
                name: {"existing": self._plain(existing), "given": self._plain(given)}
                for name, (existing, given) in self.differs.items()
            },
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
                "ends_at": self._plain(self.budget.ends_at),
            },
        }

    def _plain(self, value: object) -> object:
        """Return a field's value, an instant as text in the customer's time zone."""
        return moments.iso(value, zone=self.customer.zone) if isinstance(value, datetime) else value


def set_up(plan: SetupPlan, *, now: datetime, dry_run: bool = False, new_key: bool = False) -> SetUp:
    """Make the missing parts of the plan in one transaction. Existing ones stay as they are.

    Raises ValidationError for invalid values; nothing is made then.
    """
    with transaction.atomic():
        customer, new_customer = _customer(plan)
        administrator, new_administrator = accounts.ensure_user(plan.administrator)
        new_role = accounts.ensure_role(administrator, Role.ADMINISTRATOR, customer)
        budget, new_budget = _budget(plan, customer, now=now)
        made = {
            "customer": new_customer,
            "administrator": new_administrator,
            "role": new_role,
            "budget": new_budget,
            "api key": new_key or new_administrator,
        }
        done = SetUp(customer, administrator, budget, tuple(name for name, new in made.items() if new))
        done.differs = _differences(plan, budget)
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

    A comma is between thousands, and nowhere else. Raises ValueError for anything else, and for more than
    twelve digits of dollars.
    """
    amount = text.strip()
    if amount.lower() == UNLIMITED:
        return None
    if not _AMOUNT.fullmatch(amount):
        raise ValueError(
            "A limit is zero or more dollars, in whole cents and below a million million, such as 5000.00 or "
            "1,250; or `unlimited`."
        )
    return int(Decimal(amount.removeprefix("$").replace(",", "")) * 100)


def end_of_budget(text: str, *, zone: ZoneInfo, now: datetime) -> datetime:
    """Return the end of a new budget. Raises ValueError for an unreadable one, or one in the past."""
    ends_at = moments.parse(text, zone=zone, end_of_day=True)
    if ends_at <= now:
        raise ValueError(
            f"This is past in {moments.zone_in_words(zone)}: the budget would have ended. Give a later end."
        )
    return ends_at


def slug_of(name: str) -> str:
    """Return the short name that is made of an organisation's name. Raises ValueError."""
    slug = slugify(name)
    longest = Customer._meta.get_field("slug").max_length
    if not slug or len(slug) > (longest or 0):
        raise ValueError(f"No short name of at most {longest} letters can be made of it. Give one by --slug.")
    return slug


def _customer(plan: SetupPlan) -> tuple[Customer, bool]:
    known = Customer.objects.filter(slug=plan.slug).first()
    if known is not None:
        return known, False
    zone = plan.time_zone or moments.UTC_ZONE.key
    customer = Customer(name=plan.customer, slug=plan.slug, time_zone=zone)
    customer.full_clean()
    customer.save()
    return customer, True


def _budget(plan: SetupPlan, customer: Customer, *, now: datetime) -> tuple[Budget, bool]:
    known = Budget.objects.filter(customer=customer, name=plan.budget).order_by("pk").first()
    if known is not None:
        return known, False
    account = Account.objects.filter(customer=customer).order_by("pk").first()
    if account is None:  # the customer's budgets share one account
        account = Account(customer=customer, name=customer.name, limit_cents=plan.account_limit_cents)
        account.full_clean()
        account.save()
    try:
        ends_at = end_of_budget(plan.ends, zone=customer.zone, now=now) if plan.ends else None
    except ValueError as wrong:
        raise ValidationError(f"--ends {plan.ends}: {wrong}") from wrong
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


def _differences(plan: SetupPlan, budget: Budget) -> dict[str, tuple[object, object]]:
    """Return the fields of the customer and the budget that the plan gives another value, with both."""
    customer = budget.customer
    ends_at = plan.ends and moments.parse(plan.ends, zone=customer.zone, end_of_day=True)
    both: dict[str, tuple[object, object]] = {
        "name": (customer.name, plan.customer),
        "time_zone": (customer.time_zone, plan.time_zone or customer.time_zone),
        "limit_cents": (budget.limit_cents, plan.limit_cents),
        "catalog_uuid": (budget.catalog_uuid, plan.catalog_uuid),
        "ends_at": (budget.ends_at, ends_at or budget.ends_at),
    }
    return {name: (existing, given) for name, (existing, given) in both.items() if existing != given}


def catalog_hint(budget: Budget) -> str:
    """Return the instruction where to put the budget's catalog, if catalogs are files in a folder."""
    address = urlsplit(settings.CATALOG_URL)
    folder = Path(unquote(address.path))
    if address.scheme != "file" or folder.is_file():
        return ""
    return (
        f"put the catalog into {folder / f'{budget.catalog_uuid}.jsonl'} (docs/operations.md says how), then "
    )
