"""The shell of every page: its navigation, and the organisation that a signed-in user administers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.access.models import Role, RoleGrant, User
from bursary.budgets.models import Customer
from bursary.lib.prepared import Parameter, PreparedSelect

_REMEDIES = (
    *("remind-learner", "extend-deadline", "cancel-assignment", "correct-address"),
    *("retry-action", "skip-action", "revoke-links"),
)
SECTIONS: Mapping[str, tuple[Any, str, frozenset[str]]] = {
    "home": (gettext_lazy("Home"), "home", frozenset({"home"})),
    "budgets": (
        gettext_lazy("Budgets"),
        "wallet",
        frozenset({"budgets", "budget", "budget-spent", "assign"}),
    ),
    "assignment-list": (
        gettext_lazy("Assignments"),
        "list-details",
        frozenset(
            {
                "assignment-list",
                "assignment-totals",
                "assignment-sums",
                "selected-assignments",
                "bulk-question",
                "bulk-result",
                "assignment",
                "batch",
                *_REMEDIES,
            }
        ),
    ),
    "own-assignments": (gettext_lazy("My courses"), "school", frozenset({"own-assignments", "home"})),
}
"""By URL name: the label, the icon, and the URL names of the section's pages."""


@dataclass(frozen=True)
class Section:
    """An entry of the navigation."""

    url_name: str
    label: str
    icon: str
    current: bool


@dataclass(frozen=True)
class Shell:
    """The parts of every page around its content."""

    sections: Sequence[Section]
    organisation: str
    """The name of the organisation that the user administers; empty if there is none."""
    customer: Customer | None
    """The only organisation that the user administers, with its zone; None if there are several, or none."""
    administers: bool
    operates: bool = False

    @property
    def several(self) -> bool:
        """Whether pages name the organisation of what they show."""
        return self.administers and self.customer is None

    @property
    def operator_contact(self) -> str:
        """How an administrator reaches the operator of this service; empty if it is not set."""
        return settings.OPERATOR_CONTACT if self.administers and not self.operates else ""


def context(request: HttpRequest) -> dict[str, Any]:
    """Return the shell for templates; it is loaded when a template uses it, with one query."""
    return {"shell": SimpleLazyObject(lambda: load(request))}


@PreparedSelect
def _first_grants() -> QuerySet[RoleGrant]:
    roles, user = (Role.OPERATOR, Role.ADMINISTRATOR), Parameter("user", User._meta.pk)
    grants = RoleGrant.objects.filter(user=user, role__in=roles).select_related("customer")
    return grants.order_by("-role", "pk")[:2]  # operators first


def load(request: HttpRequest) -> Shell:
    """Return the shell of the request's user and page. One query; without a signed-in user, none."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return Shell((), "", None, administers=False)
    first = _first_grants.read(user=user.pk)
    customer = first[0].customer if len(first) == 1 else None
    operates = any(grant.role == Role.OPERATOR for grant in first)
    if customer:
        organisation = customer.name
    else:
        organisation = (_("All organisations") if operates else _("Several organisations")) if first else ""
    match = request.resolver_match
    here = match.url_name if match else ""
    shown = {"home", "budgets", "assignment-list"} if first else {"own-assignments"}
    sections = [
        Section(name, str(label), icon, current=here in pages)
        for name, (label, icon, pages) in SECTIONS.items()
        if name in shown
    ]
    return Shell(sections, organisation, customer, administers=bool(first), operates=operates)
