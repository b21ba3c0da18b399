"""Makes users with their passwords, API keys and roles. Those that exist already stay unchanged."""

import secrets
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from bursary.access.models import ApiKey, Role, RoleGrant, User, learner_key, of_mailboxes
from bursary.budgets.models import Customer

NO_USER_NAME = (
    "The user name is the address, and has at most 150 characters, of letters, digits and @ . + - _ only. "
    "Give another address, or first make this administrator in the Django admin."
)


@dataclass(frozen=True)
class Person:
    """A user to make. A user without a user name signs in with the e-mail address."""

    email: str
    username: str = ""
    first_name: str = ""
    last_name: str = ""
    lms_user_id: int | None = None
    operates: bool = False
    """May use the Django admin for everything."""


@dataclass(frozen=True)
class Credentials:
    """A user's secrets, which are shown once and not stored."""

    password: str
    api_key: str


def ensure_user(person: Person) -> tuple[User, bool]:
    """Return the user as `known_or_new` does, and whether it was made now. A new one has no usable password.

    Raises ValidationError for an invalid address, name or id.
    """
    user = known_or_new(person)
    is_new = user.pk is None
    if is_new:
        user.save()
    return user, is_new


def known_or_new(person: Person) -> User:
    """Return the user with this address, else with this user name, or a new one that can be saved.

    Raises ValidationError.
    """
    known = User.objects.filter(of_mailboxes([learner_key(person.email)])).order_by("pk").first()
    if known is None and person.username:
        known = User.objects.filter(username=person.username).first()
    if known is not None:
        return known
    user = User(
        username=person.username or person.email,
        email=person.email,
        first_name=person.first_name,
        last_name=person.last_name,
        lms_user_id=person.lms_user_id,
        is_staff=person.operates,
        is_superuser=person.operates,
    )
    user.set_unusable_password()
    if not person.username:
        try:
            User._meta.get_field("username").clean(person.email, user)
        except ValidationError as error:
            raise ValidationError({"email": NO_USER_NAME}) from error
    user.full_clean()
    return user


def ensure_role(user: User, role: Role, customer: Customer | None) -> bool:
    """Grant the user the role with the customer (None for operators); return whether it was new."""
    _grant, missing = RoleGrant.objects.get_or_create(user=user, role=role, customer=customer)
    return missing


def issue_credentials(user: User, *, key_name: str) -> Credentials:
    """Set a new random password and issue an API key. Earlier keys keep working."""
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    _row, key = ApiKey.issue(user, name=key_name)
    return Credentials(password, key)
