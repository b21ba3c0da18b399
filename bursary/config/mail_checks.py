"""System checks of the sender and the mail provider's settings. No message prints a credential."""

import re
from collections.abc import Iterator
from email.utils import parseaddr
from importlib.util import find_spec

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import get_connection
from django.core.mail.message import sanitize_address

from bursary.events import webhook
from bursary.lib import mailbox
from bursary.ops.console import SETTINGS

BACKEND = "bursary.delivery.provider_backend.configured"
_PROVIDER = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_MISSING = re.compile(r"'([A-Z0-9_]+)'")


@checks.register(SETTINGS)
def check_sender(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error if mails cannot be sent from the sender that is set, or would name another address."""
    sender = settings.DEFAULT_FROM_EMAIL
    if flaw := _flaw(sender):
        yield checks.Error(
            f"BURSARY_FROM_EMAIL is {sender!r}: mails cannot be sent from it. {flaw}",
            hint="Set an address, or a name and an address: Bursary <bursary@larkspur.example>. A name with "
            "a comma is in quotation marks.",
            id="bursary.E057",
        )


def _flaw(sender: str) -> str:
    """Return what is wrong with a sender, one address with or without a name; empty if nothing is.

    The address is checked as a learner's is. Its domain may be a name without a full stop, such as localhost.
    """
    try:
        sent = parseaddr(sanitize_address(sender, "utf-8"))[1]  # as when a mail is sent
    except (ValueError, TypeError):  # TypeError: of `Bursary <>`
        sent = ""
    if not sent or not sender.isprintable():
        return "It is not one address, with or without a name."
    address = parseaddr(sender)[1]
    inside = "" if "." in address.rpartition("@")[2] else f".{mailbox.RESERVED[0]}"
    try:
        canonical = mailbox.canonical(f"{address}{inside}")
    except mailbox.BadAddress as why:
        return str(why)
    return "" if f"{sent}{inside}".lower() == canonical else f"They would be sent from {sent}."


@checks.register(SETTINGS)
def check_mail_provider(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting with which the provider, if one is chosen, could not send mails."""
    if settings.EMAIL_BACKEND != BACKEND:
        return
    name = settings.MAIL_PROVIDER
    if not _PROVIDER.fullmatch(name):
        yield checks.Error(
            "BURSARY_EMAIL_URL names no mail provider, or more than its name.",
            hint="Name it alone: anymail://mailgun. Its credentials are BURSARY_ANYMAIL_… settings.",
            id="bursary.E050",
        )
    elif find_spec("anymail") is None:
        yield checks.Error(
            "BURSARY_EMAIL_URL names a mail provider, and anymail cannot be imported.",
            hint="Install bursary[anymail].",
            id="bursary.E051",
        )
    elif find_spec(f"anymail.backends.{name}") is None:
        yield checks.Error(
            f"BURSARY_EMAIL_URL names the mail provider {name!r}, which django-anymail does not know.",
            hint="Spell it as django-anymail does: mailgun, resend, postmark, amazon_ses and others.",
            id="bursary.E052",
        )
    else:
        try:
            get_connection()
        except (ImproperlyConfigured, ImportError) as error:
            missing = _MISSING.search(str(error))
            yield checks.Error(
                f"BURSARY_ANYMAIL_{missing[1]} is missing: mails cannot be sent by {name}."
                if missing
                else f"The mail provider {name} cannot be used: {str(error).splitlines()[0]}",
                hint="docs/operations.md lists what a provider needs, under Send mail.",
                id="bursary.E053",
            )


@checks.register(SETTINGS)
def check_mail_webhooks(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each invalid secret of a provider's webhooks."""
    secret = settings.ANYMAIL.get("RESEND_SIGNING_SECRET", "")
    if secret and not webhook.usable(secret):
        yield checks.Error(
            "BURSARY_ANYMAIL_RESEND_SIGNING_SECRET is not whsec_ and base64 of 24 bytes or more.",
            hint="Copy the signing secret that Resend shows for the webhook.",
            id="bursary.E054",
        )
    key = settings.ANYMAIL.get("MAILGUN_WEBHOOK_SIGNING_KEY", "")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        yield checks.Error(
            "BURSARY_ANYMAIL_MAILGUN_WEBHOOK_SIGNING_KEY has a character that no key of Mailgun has.",
            hint="Copy the HTTP webhook signing key, which is another than the API key.",
            id="bursary.E055",
        )
    shared = settings.ANYMAIL.get("WEBHOOK_SECRET", "")
    if shared and (":" not in shared or len(shared) < webhook.LEAST_SECRET):
        yield checks.Error(
            "BURSARY_ANYMAIL_WEBHOOK_SECRET is not a name, a colon and a password, of "
            f"{webhook.LEAST_SECRET} characters or more together.",
            hint='Make one: echo "mail:$(openssl rand -hex 32)"',
            id="bursary.E056",
        )
