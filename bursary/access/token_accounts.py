"""The account that a verified token signs in: linked to its issuer and user name, or made for the first one.

An unlinked account with the token's user name, address or LMS user id is never used: an operator links it in
the Django admin. Tokens neither make staff accounts nor sign them in (decision 0019).
"""

import logging
from datetime import datetime
from typing import NoReturn

from django.db import IntegrityError
from django.db.models import Q

from bursary.access.known_learners import accounts_of
from bursary.access.models import ExternalIdentity, Role, SeenAdministrator, User, learner_key
from bursary.access.tokens import Claims, TokenRefused
from bursary.budgets.models import Customer
from bursary.lib.retries import in_transaction

logger = logging.getLogger(__name__)

MAX_LOGGED = 10  # accounts in conflict
_LINK = "Ask the operator to link the account, under External identities in the Django admin."


def account_of(claims: Claims, *, now: datetime) -> User:
    """Return the token's account, with the token's roles for this request. Usually one query.

    The account's address, name and LMS user id are updated if the token's differ; `last_seen_at`, once an
    hour. Raises TokenRefused, and RuntimeError in a transaction if it must write.
    """
    identity = _find(claims) or _made(claims)
    user = identity.user
    if not user.is_active:
        detail = "This account was deactivated."
        raise TokenRefused("account_deactivated", detail, "Ask the operator of this installation.")
    if user.is_staff or user.is_superuser:
        logger.warning("Token refused: staff_account account=%s", user.pk)
        detail = "Staff accounts sign in with a password or an API key."
        raise TokenRefused("staff_account", detail, "Ask the operator for an account without staff rights.")
    _update(user, claims)
    user.token_roles = claims.roles
    _note(identity, claims, now=now)
    return user


def _find(claims: Claims) -> ExternalIdentity | None:
    digest = ExternalIdentity.digest_of(claims.username, issuer=claims.issuer)
    return ExternalIdentity.objects.select_related("user").filter(digest=digest).first()


def _made(claims: Claims) -> ExternalIdentity:
    """Make an account; return its identity. Of a browser's simultaneous first requests, one makes it."""

    def make() -> ExternalIdentity:
        if accounts := _conflicting(claims, named=Q(username__iexact=claims.username)):
            # The conflicting account may be the one that another request has just made for this token.
            if made := _find(claims):
                return made
            _refuse(claims, accounts=accounts)
        user = User(username=claims.username, email=claims.email, lms_user_id=claims.lms_user_id)
        user.first_name = claims.name
        user.set_unusable_password()
        user.save()
        return ExternalIdentity.objects.create(user=user, issuer=claims.issuer, username=claims.username)

    try:
        return in_transaction(make)
    except IntegrityError:
        if made := _find(claims):  # by another request
            return made
        raise


def _update(user: User, claims: Claims) -> None:
    """Update the account's fields from the token. An address or name that the token lacks is kept."""
    if claims.lms_user_id is not None and user.lms_user_id not in (None, claims.lms_user_id):
        _refuse(claims, accounts=[user.pk])  # another person has the user name now
    changed = {
        "email": claims.email if claims.email and learner_key(claims.email) != user.mailbox_key else None,
        "lms_user_id": claims.lms_user_id if user.lms_user_id is None else None,
        "first_name": claims.name if claims.name and claims.name != user.first_name else None,
    }
    fields = [name for name, value in changed.items() if value is not None]
    if not fields:
        return

    def write() -> None:
        if accounts := _conflicting(claims, but=user.pk):
            _refuse(claims, accounts=accounts)
        for name in fields:
            setattr(user, name, changed[name])
        user.save(update_fields=fields)

    in_transaction(write)


def _conflicting(claims: Claims, *, named: Q | None = None, but: int = 0) -> list[int]:
    """Return at most `MAX_LOGGED` accounts with the token's address or LMS user id, or matching `named`."""
    matching = named or Q(pk__in=[])
    if claims.lms_user_id is not None:
        matching |= Q(lms_user_id=claims.lms_user_id)
    if claims.email:
        matching |= Q(pk__in=accounts_of([learner_key(claims.email)]).values("pk"))
    others = User.objects.filter(matching).exclude(pk=but).order_by("pk")
    return list(others.values_list("pk", flat=True)[:MAX_LOGGED])


def _refuse(claims: Claims, *, accounts: list[int]) -> NoReturn:
    logger.warning("Token refused: account_not_linked issuer=%s accounts=%s", claims.issuer, accounts)
    detail = "Another account has the token's user name, address or LMS user id, and is not linked to it."
    raise TokenRefused("account_not_linked", detail, _LINK)


def _note(identity: ExternalIdentity, claims: Claims, *, now: datetime) -> None:
    """Store, once an hour, that the identity was seen, and the customers that it administers."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if identity.last_seen_at is not None and identity.last_seen_at >= hour:
        return

    def write() -> None:
        earlier = Q(last_seen_at=None) | Q(last_seen_at__lt=hour)
        if not ExternalIdentity.objects.filter(earlier, pk=identity.pk).update(last_seen_at=hour):
            return  # another request has stored it
        uuids = [uuid for role, uuid in claims.roles if role == Role.ADMINISTRATOR and uuid]
        customers = list(Customer.objects.filter(uuid__in=uuids).order_by("pk").values_list("pk", flat=True))
        SeenAdministrator.objects.filter(user=identity.user_id).delete()
        SeenAdministrator.objects.bulk_create(
            SeenAdministrator(user_id=identity.user_id, customer_id=pk, seen_at=hour) for pk in customers
        )

    in_transaction(write)
