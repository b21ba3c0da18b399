"""Anonymisation of accounts and logs. Rows that other rows refer to stay, without personal data."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from bursary.access import sessions, sign_in_limits
from bursary.access.models import (
    AccountAddress,
    ApiKey,
    ExternalIdentity,
    IdempotentRequest,
    LearnerLink,
    NoticeAddress,
    RoleGrant,
    SeenAdministrator,
    User,
    learner_key,
    of_mailboxes,
)

_DOMAIN = "@forgotten.invalid"  # it cannot receive mail (RFC 2606)


def placeholder_email() -> str:
    """Return a new address in place of an erased one."""
    return f"forgotten-{uuid.uuid4()}{_DOMAIN}"


def shown_address(address: str) -> str:
    """Return a learner's address for display, with a note in place of an erased one."""
    return _("Learner (name removed)") if address.endswith(_DOMAIN) else address


def shown_actor(actor: User | None) -> str:
    """Return an account's name for display; empty without an account."""
    if actor is None:
        return ""
    name = actor.get_full_name() or actor.get_username()
    return _("User (name removed)") if name.endswith(_DOMAIN) else name


def links_of(addresses: Iterable[str]) -> QuerySet[LearnerLink]:
    """Return the links of these addresses with every customer."""
    return LearnerLink.objects.filter(of_mailboxes([learner_key(address) for address in addresses]))


def anonymise(accounts: Sequence[User], *, now: datetime) -> None:
    """Remove names, address, roles and every way to sign in from accounts. The rows stay, as actors."""
    pks = [account.pk for account in accounts]
    for account in accounts:
        sign_in_limits.forget(account.get_username())
        account.username = account.email = placeholder_email()
        account.first_name = account.last_name = ""
        account.lms_user_id = account.last_login = None
        account.is_active = account.is_staff = account.is_superuser = False
        account.set_unusable_password()
        account.groups.clear()
        account.user_permissions.clear()
        account.save()
    AccountAddress.objects.filter(user__in=pks).delete()
    ApiKey.objects.filter(user__in=pks, revoked_at=None).update(revoked_at=now)
    ApiKey.objects.filter(user__in=pks).update(name="")
    IdempotentRequest.objects.filter(user__in=pks).delete()
    RoleGrant.objects.filter(user__in=pks).delete()
    SeenAdministrator.objects.filter(user__in=pks).delete()
    ExternalIdentity.objects.filter(user__in=pks).delete()
    ids = {str(pk) for pk in pks}
    sessions.delete_all(lambda one: one.get_decoded().get("_auth_user_id") in ids)
    log = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(User))
    log.filter(object_id__in=ids).update(object_repr="", change_message="")


def forget_notice_address(address: str) -> None:
    """Delete the address from the notice addresses of every customer."""
    NoticeAddress.objects.filter(address__iexact=address).delete()


def wipe_log(address: str) -> None:
    """Empty the entries of the Django admin's log that mention the address."""
    mentions = Q(object_repr__icontains=address) | Q(change_message__icontains=address)
    LogEntry.objects.filter(mentions).update(object_repr="", change_message="")
