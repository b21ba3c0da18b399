"""The time zone of a user, for pages and mails that do not belong to one organisation."""

from zoneinfo import ZoneInfo

from bursary.access.models import User
from bursary.budgets.models import Customer
from bursary.lib.moments import UTC_ZONE


def zone_of(user: User) -> ZoneInfo:
    """Return the common time zone of the user's organisations; UTC without one."""
    of_user = Customer.objects.filter(role_grants__user=user).order_by()
    names = list(of_user.values_list("time_zone", flat=True).distinct()[:2])
    return ZoneInfo(names[0]) if len(names) == 1 else UTC_ZONE
