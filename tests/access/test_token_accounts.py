"""The accounts of tokens, where requests come together."""

from functools import partial
from uuid import UUID

import pytest

from bursary.access import token_accounts
from bursary.access.models import ExternalIdentity, Role, SeenAdministrator, User
from bursary.access.tokens import Claims
from tests.issuer import ISSUER
from tests.together import together
from tests.world import NOW, given_customer


@pytest.mark.django_db(transaction=True)
def test_the_first_requests_of_a_browser_make_one_account_and_all_are_signed_in() -> None:
    customer = given_customer()
    roles = frozenset({(Role.ADMINISTRATOR, UUID(str(customer.uuid)))})
    claims = Claims(ISSUER, "ada", 7, "ada@larkspur.example", "Ada", roles)

    users = together([partial(token_accounts.account_of, claims, now=NOW)] * 4)

    assert [user.pk if isinstance(user, User) else user for user in users] == [User.objects.get().pk] * 4
    assert ExternalIdentity.objects.count() == SeenAdministrator.objects.count() == 1
