"""The permission table: which role may do what, and one question asked of it."""

import enum
from collections.abc import Mapping

from django.db.models import Exists, OuterRef, Q, QuerySet

from bursary.access.models import Role, RoleGrant, User


class Permission(enum.StrEnum):
    READ_BUDGET = "read_budget"
    """See a customer's budgets and their figures."""
    READ_ASSIGNMENTS = "read_assignments"
    """See everybody's assignments and their timelines."""
    ALLOCATE = "allocate"
    """Assign content to learners, and try it out."""
    CANCEL = "cancel"
    """Cancel assignments."""
    REMIND = "remind"
    """Remind learners, and nudge them."""
    LEARN = "learn"
    """See one's own assignments, take them up or decline them."""
    READ_CONTENT = "read_content"
    """See the content replica."""


_ADMINISTRATORS = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
_EVERYBODY = frozenset(Role)

PERMISSIONS: Mapping[Permission, frozenset[Role]] = {
    Permission.READ_BUDGET: _ADMINISTRATORS,
    Permission.READ_ASSIGNMENTS: _ADMINISTRATORS,
    Permission.ALLOCATE: _ADMINISTRATORS,
    Permission.CANCEL: _ADMINISTRATORS,
    Permission.REMIND: _ADMINISTRATORS,
    Permission.LEARN: _EVERYBODY,
    Permission.READ_CONTENT: _EVERYBODY,
}


def may(user: User, permission: Permission, *, customer_pk: int) -> bool:
    """Tell whether `user` may do this for the customer. One query."""
    return _grants(user, permission, customer_pk=customer_pk).exists()


def granted(user: User, permission: Permission, *, customer: str) -> Exists:
    """Return, as a condition on rows whose field `customer` names a customer, that `user` may do this."""
    return Exists(_grants(user, permission, customer_pk=OuterRef(customer)))


def _grants(user: User, permission: Permission, *, customer_pk: int | OuterRef) -> QuerySet[RoleGrant]:
    for_this_one = Q(customer=customer_pk) | Q(role=Role.OPERATOR)
    return RoleGrant.objects.filter(for_this_one, user=user, role__in=PERMISSIONS[permission])


def may_anywhere(user: User, permission: Permission) -> bool:
    """Tell whether `user` may do this for any customer at all. One query."""
    return RoleGrant.objects.filter(user=user, role__in=PERMISSIONS[permission]).exists()


def may_everywhere(user: User) -> bool:
    """Tell whether `user` runs the service, and so may act for anybody. One query."""
    return RoleGrant.objects.filter(user=user, role=Role.OPERATOR).exists()
