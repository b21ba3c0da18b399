"""`bursary setup`: the first customer, administrator and budget, or the next ones."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email
from django.utils import timezone

from bursary.budgets.models import Budget, Customer
from bursary.lib import moments
from bursary.lib.money import dollars
from bursary.ops import accounts, setup
from bursary.ops.accounts import Person
from bursary.ops.console import OperatorCommand
from bursary.ops.setup import SetUp, SetupPlan


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        example = "7db2e14f-9703-4246-adfc-3a109b2c9789"
        raise ValueError(f"This is no uuid, such as {example}.") from error


def _address(text: str) -> None:
    validate_email(text)
    accounts.known_or_new(Person(text))


OPTIONS: Mapping[str, str] = {"email": "--administrator-email", "time_zone": "--time-zone", "slug": "--slug"}
"""The option that sets each column, for the error messages of columns that refuse their value."""
KEPT: Mapping[str, tuple[str, str]] = {
    "name": ("the organisation's name", "Customers"),
    "time_zone": ("the organisation's time zone", "Customers"),
    "limit_cents": ("the budget's limit", "Budgets"),
    "catalog_uuid": ("the budget's catalog", "Budgets"),
    "ends_at": ("the budget's end", "Budgets"),
}
"""The fields that stay where they exist: their names in sentences, and their page of the Django admin."""
QUESTIONS = {
    "customer": "The organisation's name",
    "administrator_email": "Its administrator's e-mail address",
    "budget": "The budget's name",
    "limit": "The budget's limit in dollars, or unlimited",
    "catalog_uuid": "The uuid of the catalog that it pays for",
}
"""The required options, and the questions for them."""
READERS: Mapping[str, Callable[[str], object]] = {
    "customer": partial(Customer._meta.get_field("name").clean, model_instance=None),
    "administrator_email": _address,
    "budget": partial(Budget._meta.get_field("name").clean, model_instance=None),
    "limit": setup.cents,
    "catalog_uuid": _uuid,
    "slug": partial(Customer._meta.get_field("slug").clean, model_instance=None),
    "time_zone": partial(Customer._meta.get_field("time_zone").clean, model_instance=None),
}
"""The functions that parse an option or an answer, or raise ValueError or ValidationError."""


class Command(OperatorCommand):
    help = "Make an organisation with an administrator and a budget. What exists stays as it is."
    dry_run_help = "Show what would be made; make nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--customer", metavar="NAME", help="The name of the organisation, the customer.")
        parser.add_argument(
            "--slug", metavar="SLUG", help="The organisation's short name; made from its name unless given."
        )
        parser.add_argument(
            "--time-zone",
            metavar="ZONE",
            help="The time zone in which deadlines are shown, such as Europe/Madrid; UTC by default.",
        )
        parser.add_argument(
            "--administrator-email",
            metavar="ADDRESS",
            help="The address of the organisation's first administrator.",
        )
        parser.add_argument("--budget", metavar="NAME", help="The name of the organisation's first budget.")
        parser.add_argument(
            "--limit", metavar="DOLLARS", help="What the budget may spend, such as 5000.00, or unlimited."
        )
        parser.add_argument(
            "--catalog-uuid", metavar="UUID", help="The catalog with the courses that the budget pays for."
        )
        parser.add_argument(
            "--ends",
            metavar="DATE",
            help="The budget's last day, or its end to the minute, such as 2027-06-30T17:00.",
        )
        parser.add_argument("--new-key", action="store_true", help="Issue the administrator another API key.")

    def run(self, *, dry_run: bool, new_key: bool, **options: Any) -> None:
        options |= {name: options[name].strip(" ") for name in READERS if options[name]}  # as an answer is
        missing = [name for name in QUESTIONS if not options[name]]
        if missing and (self.as_json or not sys.stdin.isatty()):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise CommandError(f"No terminal to ask on. Give {names}.")
        readers, now = dict(READERS), timezone.now()
        if not options["slug"]:
            readers["customer"] = _name_with_slug
        for name, read in readers.items():
            if options[name]:
                _require_readable(name, read, options[name])
        if options["ends"]:
            zone = ZoneInfo(options["time_zone"] or moments.UTC_ZONE.key)
            # Without a question, a script may run this again after the end of a budget that exists.
            in_future = partial(setup.end_of_budget, zone=zone, now=now)
            parse_end = in_future if missing else partial(moments.parse, zone=zone, end_of_day=True)
            _require_readable("ends", parse_end, options["ends"])
        given = options | {name: self._ask(name, readers[name]) for name in missing}
        plan = SetupPlan(
            customer=given["customer"],
            slug=given["slug"] or setup.slug_of(given["customer"]),
            time_zone=given["time_zone"] or "",
            administrator=Person(given["administrator_email"]),
            budget=given["budget"],
            limit_cents=setup.cents(given["limit"]),
            catalog_uuid=_uuid(given["catalog_uuid"]),
            ends=given["ends"] or "",
        )
        try:
            done = setup.set_up(plan, now=now, dry_run=dry_run, new_key=new_key)
        except ValidationError as error:
            named = error.message_dict if hasattr(error, "error_dict") else {}
            sentences = [f"{OPTIONS.get(one, one)}: {' '.join(why)}" for one, why in named.items()]
            raise CommandError(" ".join(sentences or error.messages)) from error
        differences = _differences_in_words(done)
        for sentence in differences:
            self.stderr.write(f"Warning: {sentence}")
        text = _text(done, differs=bool(differences), dry_run=dry_run)
        self.answer({"dry_run": dry_run, **done.summary()}, text)

    def _ask(self, name: str, read: Callable[[str], object]) -> str:
        """Ask until the answer is valid."""
        while True:
            text = input(f"{QUESTIONS[name]}: ").strip()
            try:
                read(text)
            except ValidationError as error:
                self.stderr.write(" ".join(error.messages))
            except ValueError as error:
                self.stderr.write(f"{text}: {error}" if text else "An answer is needed.")
            else:
                return text


def _name_with_slug(text: str) -> None:
    READERS["customer"](text)
    setup.slug_of(text)


def _require_readable(name: str, read: Callable[[str], object], text: str) -> None:
    option = f"--{name.replace('_', '-')}"
    try:
        read(text)
    except ValidationError as error:
        raise CommandError(f"{option}: {' '.join(error.messages)}") from error
    except ValueError as error:
        raise CommandError(f"{option} {text}: {error}") from error


def _differences_in_words(done: SetUp) -> list[str]:
    """Return a sentence for each field that stays other than given, with the place to change it.

    There is none where both are the same in words, as two ends in the same minute are.
    """
    words: Mapping[str, Callable[[Any], str]] = {
        "limit_cents": dollars,
        "ends_at": lambda moment: moments.in_words(moment, zone=done.customer.zone) if moment else "none",
    }
    both = {name: tuple(map(words.get(name, str), values)) for name, values in done.differs.items()}
    return [
        f"{KEPT[name][0]} is {existing}, not {given}, and was not changed. "
        f"Change it in the Django admin, under {KEPT[name][1]}."
        for name, (existing, given) in both.items()
        if existing != given
    ]


def _text(done: SetUp, *, differs: bool, dry_run: bool) -> str:
    if not done.made:
        return "Nothing was changed." if differs else "Everything is there already; nothing was changed."
    budget = done.budget
    lines = [
        f"{'Would make' if dry_run else 'Made'}: {', '.join(done.made)}.",
        f"Organisation   {done.customer.name} ({done.customer.slug})",
        f"User name      {done.administrator.username}",
        f"Budget         {budget.name}, {dollars(budget.limit_cents)}, {budget.uuid}",
    ]
    if budget.ends_at:
        lines.append(f"It ends        {moments.in_words(budget.ends_at, zone=done.customer.zone)}")
    if done.password:
        lines.append(f"Password       {done.password}")
    if done.api_key:
        lines.append(f"API key        {done.api_key}")
    if done.password or done.api_key:
        lines.append("Keep them: they are not shown again.")
    if not dry_run:
        lines.append(
            f"Next: {setup.catalog_hint(budget)}`bursary refresh_content --catalog {budget.catalog_uuid}`, "
            "then `bursary serve`."
        )
    return "\n".join(lines)
