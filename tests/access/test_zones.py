"""The time zone of what belongs to no one organisation."""

import pytest

from bursary.access.models import Role, RoleGrant
from bursary.access.zones import zone_of
from tests.world import given_customer, given_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("zones", "zone"),
    [
        ([], "UTC"),
        (["Europe/Madrid"], "Europe/Madrid"),
        (["Europe/Madrid", "Europe/Madrid"], "Europe/Madrid"),
        (["Europe/Madrid", "Europe/Lisbon", "Europe/Madrid"], "UTC"),
    ],
)
def test_it_is_the_one_that_all_organisations_of_the_user_share(zones: list[str], zone: str) -> None:
    user, _of_others = given_user(Role.OPERATOR), given_customer(time_zone="America/Chicago")
    for number, name in enumerate(zones):
        customer = given_customer(name=f"Organisation {number}", time_zone=name)
        for role in (Role.ADMINISTRATOR, Role.LEARNER):
            RoleGrant.objects.create(user=user, role=role, customer=customer)

    assert zone_of(user).key == zone
