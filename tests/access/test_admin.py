"""Searching the admin's lists by an address, in any spelling."""

import pytest
from django.test import Client
from django.urls import reverse

from bursary.access.models import LearnerLink, Role, User, learner_key
from bursary.assignments.models import LearnerContentAssignment
from tests.api.door import door_of
from tests.world import ALICE, BOB, NOW, given_assignment, given_budget, given_user

pytestmark = pytest.mark.django_db

HOME = "alice@stra\u00dfe.example"
SPELLINGS = [
    HOME,
    HOME.replace("alice", "ALICE"),
    "alice@xn--strae-oqa.example",
    "\uff21lice\uff20stra\u00dfe.example",
    f"{HOME}\u200b",
]


@pytest.fixture
def _rows() -> None:
    """Write a user, a link and an assignment as an earlier release spelt them, and others."""
    assignment = given_assignment(address=BOB)
    given_user(username="theirs", email=HOME)
    given_user(email=ALICE)
    LearnerContentAssignment.objects.update(
        learner_email=HOME, learner_key=learner_key(HOME), mailbox_key=None
    )
    LearnerLink.objects.create(
        customer=assignment.budget.customer, learner_email=HOME, learner_key=learner_key(HOME), created=NOW
    )
    given_assignment(given_budget(), address=ALICE)


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("written", SPELLINGS)
@pytest.mark.parametrize(
    "table", ["access_user", "access_learnerlink", "assignments_learnercontentassignment"]
)
def test_a_mailbox_is_found_in_any_spelling(client: Client, table: str, written: str) -> None:
    client.force_login(given_user(is_staff=True, is_superuser=True))
    page = client.get(reverse(f"admin:{table}_changelist"), {"q": written})
    assert [HOME in vars(row).values() for row in page.context_data["cl"].result_list] == [True]  # type: ignore[index]


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("written", SPELLINGS)
def test_an_administrators_search_finds_it_too(written: str) -> None:
    row = LearnerContentAssignment.objects.get(learner_email=HOME)
    door = door_of(Role.ADMINISTRATOR, customer=row.budget.customer)
    listed = door.assignments(row.budget, search=written).json()["results"]
    assert [one["learner_email"] for one in listed] == [HOME]


def test_an_account_that_would_leave_no_trace_is_deactivated_and_not_deleted(client: Client) -> None:
    client.force_login(given_user(is_staff=True, is_superuser=True))
    traced, traceless = given_user(email=ALICE, lms_user_id=7), given_user(email=BOB)
    pages = {one: reverse("admin:access_user_delete", args=[one.pk]) for one in (traced, traceless)}

    assert client.post(pages[traceless], {"post": "yes"}).status_code == 403
    everything = {"action": "delete_selected", "_selected_action": [traceless.pk], "post": "yes"}
    client.post(reverse("admin:access_user_changelist"), everything)
    assert User.objects.filter(pk=traceless.pk).exists()
    assert client.post(pages[traced], {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=traced.pk).exists()


def test_the_admin_has_no_groups_and_its_names_are_words(client: Client) -> None:
    client.force_login(given_user(is_staff=True, is_superuser=True))
    index = client.get(reverse("admin:index")).content.decode()
    assert "Ledger entries" in index
    assert "Request tallies" in index
    assert "Allocation batches" in index
    assert "Groups" not in index
