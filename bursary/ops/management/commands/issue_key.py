"""`bursary issue_key ADDRESS NAME`: issue an API key with a scope and an expiry date."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.access.models import ApiKey, KeyScope, User, learner_key, of_mailboxes
from bursary.lib.texts import is_line
from bursary.ops.console import OperatorCommand, number

LONGEST_DAYS = 3660
LONGEST_NAME = 64  # characters


class Command(OperatorCommand):
    help = "Issue an API key for the account with this address. The key is shown once."
    dry_run_help = "Show the account that the key would be for; issue nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("address", metavar="ADDRESS", help="The account's e-mail address.")
        parser.add_argument("name", metavar="NAME", help="What will use the key, such as: HR report.")
        scopes = "What the key may do, within what the account may; read by default."
        parser.add_argument("--scope", choices=KeyScope.values, default=KeyScope.READ.value, help=scopes)
        days = "Days until the key expires; 365 by default."
        parser.add_argument("--days", type=number, default=365, metavar="N", help=days)

    def run(self, *, address: str, name: str, scope: str, days: int, dry_run: bool, **_options: Any) -> None:
        if not 0 < days <= LONGEST_DAYS or len(name) > LONGEST_NAME or not is_line(name):
            raise CommandError(
                f"A key lasts 1 to {LONGEST_DAYS} days; its name has 1 to {LONGEST_NAME} characters, in one "
                "line and without control characters.",
                returncode=2,
            )
        user = User.objects.filter(of_mailboxes([learner_key(address)]), is_active=True).first()
        if user is None:
            raise CommandError(f"No active account has the address {address}.")
        expires_at = timezone.now() + timedelta(days=days)
        answer = {"user": user.get_username(), "name": name, "scope": scope, "expires_at": expires_at}
        text = f"{name}: scope {scope}, until {expires_at:%Y-%m-%d}, for {user.get_username()}."
        if not dry_run:
            _row, key = ApiKey.issue(user, name=name, scope=KeyScope(scope), expires_at=expires_at)
            answer["api_key"] = key
            text = f"{key}\n{text} The key is not kept, and is not shown again."
        self.answer({"dry_run": dry_run, **answer}, text)
