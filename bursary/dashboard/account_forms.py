"""The forms of a user's account: new API keys, passwords, and mails with a link to set a new password."""

import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.forms import (
    AuthenticationForm,
    PasswordChangeForm,
    PasswordResetForm,
    SetPasswordForm,
)
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from django.utils.translation import gettext_lazy as _

from bursary.access.models import ApiKey, KeyScope, User, learner_key, of_mailboxes
from bursary.budgets.models import check_name
from bursary.delivery import emails
from bursary.delivery.errors import DeliveryError

MAX_KEYS = 20  # valid keys of one account
RESET_INTERVAL = timedelta(minutes=10)  # the least time between two mails to one account
MAX_ACCOUNTS = 10  # accounts with one address that get a link
MAX_THREADS = 8  # threads that send links at the same time
PAUSES = (timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4))
"""The pauses between attempts to send one mail: together less than `RESET_INTERVAL`."""
_threads = threading.BoundedSemaphore(MAX_THREADS)

logger = logging.getLogger(__name__)


class NewKeyForm(forms.Form):
    """A new API key. No other valid key of the user may have its name."""

    name = forms.CharField(
        label=_("Name of the new key"),
        help_text=_("What will use it, such as “HR report”. You see the key itself once."),
        max_length=64,
        validators=[check_name],
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    scope = forms.ChoiceField(
        label=_("What it may do"),
        help_text=_("Never more than you may do yourself."),
        choices=KeyScope.choices,
        initial=KeyScope.READ,
    )
    days = forms.TypedChoiceField(
        label=_("How long it works"),
        choices=[(30, _("30 days")), (90, _("90 days")), (365, _("One year")), (0, _("Until it is revoked"))],
        coerce=int,
        initial=365,
    )

    def __init__(self, *sent: Any, user: User, **options: Any) -> None:
        super().__init__(*sent, **options)
        self.user = user

    def terms(self, *, now: datetime) -> dict[str, Any]:
        """Return the name, the scope and the expiry of the key as arguments of `ApiKey.issue`."""
        days = self.cleaned_data["days"]
        return {
            "name": self.cleaned_data["name"],
            "scope": KeyScope(self.cleaned_data["scope"]),
            "expires_at": now + timedelta(days=days) if days else None,
        }

    def clean_name(self) -> str:
        """Return the name. Raises ValidationError if it is in use, so that a repeated form makes no key."""
        name: str = self.cleaned_data["name"]
        working = ApiKey.objects.filter(user=self.user, revoked_at=None)
        if working.filter(name=name).exists():
            raise ValidationError(_("You have a key of this name. Revoke it first, or choose another name."))
        if working.count() >= MAX_KEYS:
            raise ValidationError(
                _("You have %(count)d keys, the most that is allowed. Revoke one that is not used."),
                params={"count": MAX_KEYS},
            )
        return name


class SignInForm(AuthenticationForm):
    """Asks for user name and password."""

    error_messages = {  # a class attribute, as in Django
        **AuthenticationForm.error_messages,
        "invalid_login": _(
            "The user name or the password is wrong; capital letters matter. Your user name is in the mail "
            "that “I have forgotten my password” sends you."
        ),
    }


_MISMATCH: dict[str, Any] = {"password_mismatch": _("The two are not the same. Type the new password again.")}
_LABELS = {"new_password1": _("New password"), "new_password2": _("The new password again")}


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # it takes none at run time
    """Asks for a new password, twice."""

    error_messages = _MISMATCH  # a class attribute, as in Django

    def __init__(self, *sent: Any, **options: Any) -> None:
        super().__init__(*sent, **options)
        for name, label in _LABELS.items():
            self.fields[name].label = label
        self.fields["new_password2"].help_text = ""

    def validate_password_for_user(self, user: User, *_of_django: Any) -> None:
        """Show errors in the password at the first field, below the requirements."""
        super().validate_password_for_user(user, "new_password1")


class ChangePasswordForm(NewPasswordForm, PasswordChangeForm):
    """Asks for the present password, and for a new one, twice."""

    error_messages = {  # a class attribute, as in Django
        **_MISMATCH,
        "password_incorrect": _("That is not your present password. Capital letters matter."),
    }

    def __init__(self, *sent: Any, request: HttpRequest, **options: Any) -> None:
        super().__init__(*sent, **options)
        self.request = request
        self.fields["old_password"].label = _("Present password")

    def clean_old_password(self) -> str:
        """Return the present password. A wrong one counts like a failed sign-in."""
        password: str = self.cleaned_data["old_password"]
        if authenticate(self.request, username=self.user.get_username(), password=password) is None:
            wrong = self.error_messages["password_incorrect"]
            raise ValidationError(wrong)
        return password


class ForgottenPasswordForm(PasswordResetForm):
    """Asks for a link to set a new password.

    The response is the same, and as fast, whether or not there is an account: a thread looks for the account
    and sends the mail.
    """

    def __init__(self, *sent: Any, **options: Any) -> None:
        super().__init__(*sent, **options)
        self.fields["email"].label = _("E-mail address")

    def save(self, **_of_django: Any) -> None:  # type: ignore[override]  # its options are not used
        """Mail the accounts with the address in a thread. If too many threads do so, nothing is sent."""
        if not _threads.acquire(blocking=False):
            logger.warning("A link to set a password was not sent: %s are being sent.", MAX_THREADS)
            return
        address = self.cleaned_data["email"]
        threading.Thread(
            target=_mail_accounts, args=(address,), name="bursary-password-link", daemon=True
        ).start()


def _mail_accounts(address: str) -> None:
    """Mail a link to each account with the address; retry after pauses while the mail server accepts none."""
    try:
        waiting = [(user, str(uuid4())) for user in _accounts_to_mail(address)]
        for pause in (*PAUSES, None):
            waiting = [one for one in waiting if _fails_for_now(*one, last=pause is None)]
            if pause is None or not waiting:
                return
            connections.close_all()
            time.sleep(pause.total_seconds())
    finally:
        connections.close_all()
        _threads.release()


def _accounts_to_mail(address: str) -> Iterator[User]:
    """Yield the accounts of the mailbox, each at most once in `RESET_INTERVAL`."""
    now = timezone.now()
    accounts = User.objects.filter(of_mailboxes([learner_key(address)]), is_active=True).order_by("pk")
    due = Q(reset_mailed_at=None) | Q(reset_mailed_at__lte=now - RESET_INTERVAL)
    for user in accounts[:MAX_ACCOUNTS]:
        # Accounts without a usable password get no link: their users sign in elsewhere.
        if user.has_usable_password() and User.objects.filter(due, pk=user.pk).update(reset_mailed_at=now):
            yield user


def _fails_for_now(user: User, name: str, *, last: bool) -> bool:
    """Mail the link to the account's own address; return whether to try again.

    If it finally fails, the user may request a link again at once.
    """
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("new-password", args=[uid, default_token_generator.make_token(user)])
    context = {"link": f"{settings.BASE_URL}{path}", "username": user.get_username()}
    try:
        emails.send(user.email, template="password_link", context=context, name=name, now=timezone.now())
    except DeliveryError as failure:
        if not last and not failure.permanent:
            logger.warning("A link to set a password waits: user=%s error=%s", user.pk, failure.error_code)
            return True
        logger.warning("A link to set a password was not sent: user=%s error=%s", user.pk, failure.error_code)
        User.objects.filter(pk=user.pk).update(reset_mailed_at=None, reset_failed_at=timezone.now())
        return False
    User.objects.filter(pk=user.pk, reset_failed_at__isnull=False).update(reset_failed_at=None)
    return False
