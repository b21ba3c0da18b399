"""The time zone of a user, for what belongs to no one organisation."""

from zoneinfo import ZoneInfo

from bursary.access.models import User
from bursary.budgets.models import Customer
from bursary.lib.moments import UTC_ZONE


def zone_of(user: User) -> ZoneInfo:
    """Return the time zone that the user's organisations share; UTC where they have none or several."""
    of_user = Customer.objects.filter(role_grants__user=user).order_by()
    names = list(of_user.values_list("time_zone", flat=True).distinct()[:2])
    return ZoneInfo(names[0]) if len(names) == 1 else UTC_ZONE
