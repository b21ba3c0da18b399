"""The API in a browser: its name, the signed-in user, and no dead links."""

import pytest
from django.test import Client
from django.urls import reverse

from bursary.access.models import Role
from tests import world

pytestmark = pytest.mark.django_db


def test_it_is_bursarys_and_names_the_signed_in_user(client: Client) -> None:
    budget = world.given_budget()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada"))
    address = reverse("assignments", args=[budget.assignment_configuration_uuid])

    html = client.get(address, headers={"accept": "text/html"}).content.decode()

    assert "<title>Assignment List · Bursary</title>" in html
    assert '<a class="navbar-brand" href="/">Bursary</a>' in html
    assert '<li class="navbar-text">ada</li>' in html
    assert 'name="allocation_batch"' in html  # its form has the filters that were not asked for
    assert "Django REST framework" not in html
    assert "Unknown Address" not in html


def test_without_a_session_it_names_no_user(client: Client) -> None:
    html = client.get(reverse("policies"), headers={"accept": "text/html"}).content.decode()

    assert "Bursary</a>" in html
    assert "navbar-text" not in html
