"""The permission table: which role has which permissions, and the checks against it.

A user that a token has signed in has only the token's roles; any other user has those granted to the account.
An API key limits the permissions to its scope. `granted` filters a query to customers for which the caller
has the permission, so that rows of other customers do not exist for the caller (404).
"""

import enum
from collections.abc import Mapping

from django.db.models import Exists, OuterRef, Q, QuerySet

from bursary.access.models import KeyScope, Role, RoleGrant, TokenRoles, User
from bursary.budgets.models import Customer
from bursary.lib.prepared import Parameter


class Permission(enum.StrEnum):
    READ_BUDGET = "read_budget"
    """See a customer's budgets and their figures."""
    READ_ASSIGNMENTS = "read_assignments"
    """See all learners' assignments and their timelines."""
    ALLOCATE = "allocate"
    """Assign content to learners, and preview it."""
    CANCEL = "cancel"
    """Cancel assignments."""
    REMIND = "remind"
    """Remind learners, and nudge them."""
    READ_OWN = "read_own"
    """See one's own assignments, and the customers that one belongs to."""
    LEARN = "learn"
    """Accept, decline and acknowledge one's own assignments."""
    READ_CONTENT = "read_content"
    """See the content replica."""
    MAKE_KEYS = "make_keys"
    """Make API keys of one's own."""


_ADMINISTRATORS = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
_ALL_ROLES = frozenset(Role)

PERMISSIONS: Mapping[Permission, frozenset[Role]] = {
    Permission.READ_BUDGET: _ADMINISTRATORS,
    Permission.READ_ASSIGNMENTS: _ADMINISTRATORS,
    Permission.ALLOCATE: _ADMINISTRATORS,
    Permission.CANCEL: _ADMINISTRATORS,
    Permission.REMIND: _ADMINISTRATORS,
    Permission.READ_OWN: _ALL_ROLES,
    Permission.LEARN: _ALL_ROLES,
    Permission.READ_CONTENT: _ALL_ROLES,
    Permission.MAKE_KEYS: _ADMINISTRATORS,
}


_READS = frozenset(
    {
        Permission.READ_BUDGET,
        Permission.READ_ASSIGNMENTS,
        Permission.READ_CONTENT,
        Permission.READ_OWN,
    }
)
_ALLOCATES = _READS | {Permission.ALLOCATE}

KEY_SCOPES: Mapping[KeyScope, frozenset[Permission]] = {
    KeyScope.READ: _READS,
    KeyScope.ALLOCATE: _ALLOCATES,
    KeyScope.ADMINISTER: _ALLOCATES | {Permission.CANCEL, Permission.REMIND, Permission.LEARN},
    KeyScope.OPERATE: frozenset(Permission),
}
"""The permissions within each scope of an API key."""


class ScopeTooNarrow(Exception):
    """The API key's scope lacks the permission; the user's roles do not matter."""

    reason = "key_scope_too_narrow"

    def __init__(self, scope: KeyScope, permission: Permission) -> None:
        super().__init__(f"This API key has the scope “{scope}”, which does not permit this.")
        self.permission = permission


def may(user: User, permission: Permission, *, customer_pk: int) -> bool:
    """Return whether `user` has the permission for the customer. One query. Raises ScopeTooNarrow."""
    check_scope(user, permission)
    if user.token_roles is not None:
        return _of_token(user.token_roles, PERMISSIONS[permission]).filter(pk=customer_pk).exists()
    return _grants(user.pk, permission, customer_pk=customer_pk).exists()


def roles_of(user: User, *, customer_pk: int) -> frozenset[Role]:
    """Return the roles of `user` for the customer. One query."""
    if user.token_roles is not None:
        uuid = Customer.objects.filter(pk=customer_pk).values_list("uuid", flat=True).first()
        return frozenset(role for role, customer in user.token_roles if customer in (None, uuid))
    grants = RoleGrant.objects.filter(Q(customer=customer_pk) | Q(role=Role.OPERATOR), user=user)
    return frozenset(Role(role) for role in grants.values_list("role", flat=True))


def granted(user: User, permission: Permission, *, customer: str) -> Exists:
    """Return the condition that `user` has the permission for a row's customer.

    `customer` is the name of the row's field. Raises ScopeTooNarrow.
    """
    check_scope(user, permission)
    if user.token_roles is not None:
        return Exists(_of_token(user.token_roles, PERMISSIONS[permission]).filter(pk=OuterRef(customer)))
    return granted_to_account(user.pk, permission, customer=customer)


def granted_to_account(user: int | Parameter, permission: Permission, *, customer: str) -> Exists:
    """Return the condition of `granted` for an account's own grants, without a token's roles.

    `user` is a primary key, or a parameter for one. The caller calls `check_scope`.
    """
    return Exists(_grants(user, permission, customer_pk=OuterRef(customer)))


def check_scope(user: User, permission: Permission) -> None:
    """Raise ScopeTooNarrow if an API key signed `user` in and its scope lacks the permission."""
    if user.key_scope is not None and permission not in KEY_SCOPES[user.key_scope]:
        raise ScopeTooNarrow(user.key_scope, permission)


def _grants(
    user: int | Parameter, permission: Permission, *, customer_pk: int | OuterRef
) -> QuerySet[RoleGrant]:
    for_this_one = Q(customer=customer_pk) | Q(role=Role.OPERATOR)
    return RoleGrant.objects.filter(for_this_one, user=user, role__in=PERMISSIONS[permission])


def _of_token(roles: TokenRoles, allowed: frozenset[Role]) -> QuerySet[Customer]:
    """Return the customers for which a token has one of these roles; for an operator's token, all."""
    if Role.OPERATOR in allowed and (Role.OPERATOR, None) in roles:
        return Customer.objects.all()
    return Customer.objects.filter(uuid__in={uuid for role, uuid in roles if role in allowed and uuid})


def own_customers(user: User) -> QuerySet[Customer]:
    """Return the customers of which `user` is a learner, by name; for an operator, all. It is unbounded."""
    return Customer.objects.filter(granted(user, Permission.READ_OWN, customer="pk")).order_by("name", "pk")


def permissions_by_customer(user: User, *, limit: int) -> list[tuple[Customer, list[Permission]]]:
    """Return at most `limit` customers of the user, by name, each with the user's permissions. One query."""
    scope = KEY_SCOPES[user.key_scope or KeyScope.OPERATE]
    asked = {one: granted(user, one, customer="pk") for one in Permission if one in scope}
    customers = own_customers(user).annotate(**{f"may_{one}": condition for one, condition in asked.items()})
    return [(one, [may for may in asked if vars(one)[f"may_{may}"]]) for one in customers[:limit]]


def may_anywhere(user: User, permission: Permission) -> bool:
    """Return whether `user` has the permission for any customer. One query at most. Raises ScopeTooNarrow."""
    check_scope(user, permission)
    if user.token_roles is not None:
        return may_everywhere(user) or _of_token(user.token_roles, PERMISSIONS[permission]).exists()
    return RoleGrant.objects.filter(user=user, role__in=PERMISSIONS[permission]).exists()


def may_everywhere(user: User) -> bool:
    """Return whether `user` is an operator. One query at most."""
    if user.key_scope not in (None, KeyScope.OPERATE):
        return False
    if user.token_roles is not None:
        return (Role.OPERATOR, None) in user.token_roles
    return RoleGrant.objects.filter(user=user, role=Role.OPERATOR).exists()
