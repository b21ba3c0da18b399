"""The forms of one's own account: a new key, and the mail with a link to set a new password."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bursary.access.models import ApiKey, User, learner_key, of_mailboxes
from bursary.delivery import emails
from bursary.delivery.errors import DeliveryError

MOST_KEYS = 20  # of one account, that work
RESET_INTERVAL = timedelta(minutes=10)  # at least, between two mails to one account
MOST_ACCOUNTS = 10  # with one address

logger = logging.getLogger(__name__)


class NewKeyForm(forms.Form):
    """The name of a new API key, of which the user has no other that works."""

    name = forms.CharField(
        label=_("Name of the new key"),
        help_text=_("What will use it, such as “HR report”. You see the key itself once."),
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *sent: Any, user: User, **options: Any) -> None:
        super().__init__(*sent, **options)
        self.user = user

    def clean_name(self) -> str:
        """Return the name. Sending the form again makes no second key."""
        name: str = self.cleaned_data["name"]
        working = ApiKey.objects.filter(user=self.user, revoked_at=None)
        if working.filter(name=name).exists():
            raise ValidationError(_("You have a key of this name. Revoke it first, or choose another name."))
        if working.count() >= MOST_KEYS:
            raise ValidationError(
                _("You have %(count)d keys, the most that is allowed. Revoke one that is not used."),
                params={"count": MOST_KEYS},
            )
        return name


class ForgottenPasswordForm(PasswordResetForm):
    """Django's, which finds accounts by mailbox and mails each at most once in `RESET_INTERVAL`.

    The answer is the same, and as fast, whether or not there is an account: a thread sends the mail.
    """

    def get_users(self, email: str) -> Iterator[User]:
        """Yield the accounts to mail. Raises nothing where there are none."""
        now = timezone.now()
        accounts = User.objects.filter(of_mailboxes([learner_key(email)]), is_active=True).order_by("pk")
        for user in accounts[:MOST_ACCOUNTS]:
            due = Q(reset_mailed_at=None) | Q(reset_mailed_at__lte=now - RESET_INTERVAL)
            # Django gives no new password to accounts without a usable one: they sign in elsewhere.
            if user.has_usable_password() and User.objects.filter(due, pk=user.pk).update(
                reset_mailed_at=now
            ):
                yield user

    def send_mail(  # type: ignore[override]  # of Django's arguments, those that are used
        self,
        _subject: str,
        _template: str,
        context: dict[str, Any],
        _sender: str | None,
        to_email: str,
        **_more: Any,
    ) -> None:
        """Send the link in a thread, to the account's own address."""
        path = reverse("new-password", args=[context["uid"], context["token"]])
        shown = {"link": f"{settings.BASE_URL}{path}", "username": context["user"].get_username()}
        sending = threading.Thread(
            target=_send,
            args=(context["user"].pk, to_email, shown),
            name="bursary-password-link",
            daemon=True,
        )
        sending.start()


def _send(user: int, recipient: str, context: dict[str, str]) -> None:
    """Send the mail; where that fails, log it and let the user ask again at once."""
    try:
        emails.send(
            recipient, template="password_link", context=context, name=str(uuid4()), now=timezone.now()
        )
    except DeliveryError as failure:
        logger.warning("A link to set a password was not sent: user=%s error=%s", user, failure.error_code)
        User.objects.filter(pk=user).update(reset_mailed_at=None)
    finally:
        connections.close_all()
