"""What a preview warns of: doubtful domains, other assignments of the course, and money that runs out."""

from collections.abc import Callable

import pytest
from pytest_django import DjangoAssertNumQueries as NumQueries

from bursary.access.models import Role
from bursary.assignments import allocation, cancellation, declining, preview_warnings, redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.preview_warnings import meant_domain, summary
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import world
from tests.world import ALICE, BOB, CAROL, NOW, PRICE, given_budget, given_content, given_customer, given_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def budget() -> Budget:
    return given_budget(name="Skills")


@pytest.fixture
def other_budget(budget: Budget) -> Budget:
    return given_budget(customer=budget.customer, name="Languages")


@pytest.fixture
def content() -> ContentMetadata:
    return given_content()


def warned(
    budget: Budget, content: ContentMetadata, *entries: str, price_cents: int = PRICE
) -> dict[int, list[str]]:
    """Return the codes of the warnings by position."""
    found = previewed(budget, content, *entries, price_cents=price_cents).warnings
    return {position: [one.code.value for one in of_entry] for position, of_entry in found.items()}


def previewed(
    budget: Budget, content: ContentMetadata, *entries: str, price_cents: int = PRICE
) -> allocation.Preview:
    return allocation.preview(
        budget, content_key=content.content_key, price_cents=price_cents, entries=list(entries), now=NOW
    )


def accept(assignment: LearnerContentAssignment) -> None:
    redemption.begin(assignment, now=NOW)
    world.deliver()


def decline(assignment: LearnerContentAssignment) -> None:
    declining.decline(assignment, reason="", now=NOW)


# -- Domains ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gmial.com", "gmail.com"),
        ("gmai.com", "gmail.com"),
        ("gnail.com", "gmail.com"),
        ("ggmail.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("hotnail.com", "hotmail.com"),
        ("hotmale.com", "hotmail.com"),
        ("outlok.com", "outlook.com"),
        ("yaoho.com", "yahoo.com"),
        ("googelmail.com", "googlemail.com"),
        ("hotmial.co.uk", "hotmail.co.uk"),
        ("livee.com", "live.com"),
        ("lvie.com", "live.com"),
        ("live.con", "live.com"),
        ("live.cmo", "live.com"),
        ("aool.com", "aol.com"),
        ("msn.comm", "msn.com"),
        ("gmx.vom", "gmx.com"),
    ],
)
def test_a_domain_that_is_nearly_a_well_known_one_is_recognised(typed: str, meant: str) -> None:
    assert meant_domain(typed) == meant


@pytest.mark.parametrize(
    "domain",
    [
        *("gmail.com", "mail.com", "ymail.com", "email.com", "gmail.de", "yahoo.ca", "yahoo.fr", "live.com"),
        *("outlook.cz", "hotmail.ca", "hotmail.it", "larkspur.example", "gmx.net", "aol.com", "snail.com"),
        *("ive.com", "like.com", "love.com", "olive.com", "alive.com", "line.com", "lives.com", "give.com"),
        *("live.co", "live.cm", "live.nl", "alo.com", "oil.com", "mns.com", "gmx.de", "gmx.ch", "gm.com"),
    ],
)
def test_another_domain_is_left_alone(domain: str) -> None:
    assert meant_domain(domain) == ""


def test_a_mistyped_domain_is_warned_of_with_the_address_that_is_probably_meant(
    budget: Budget, content: ContentMetadata
) -> None:
    [[one]] = previewed(budget, content, "Marta@GMIAL.com").warnings.values()

    assert (one.code, one.details) == ("domain_mistyped", {"suggestion": "marta@gmail.com"})
    assert "marta@gmail.com" in one.sentence
    assert one.next_step


@pytest.mark.parametrize(
    "domain", ["larkspur.invalid", "a.test", "printer.local", "example.com", "a.example.org"]
)
def test_a_reserved_domain_is_warned_of(budget: Budget, content: ContentMetadata, domain: str) -> None:
    assert warned(budget, content, f"leo@{domain}", ALICE) == {0: ["domain_reserved"]}


def test_a_name_that_only_ends_like_a_reserved_one_is_not(budget: Budget, content: ContentMetadata) -> None:
    assert warned(budget, content, "leo@myexample.com", "leo@a.contest", "leo@mytest.com") == {}


@pytest.mark.parametrize("domain", ["gmial.com", "larkspur.local"])
@pytest.mark.parametrize("by", ["an account", "an accepted assignment"])
def test_a_domain_that_the_organisations_learners_use_is_not_warned_of(
    budget: Budget, content: ContentMetadata, domain: str, by: str
) -> None:
    if by == "an account":
        given_user(Role.LEARNER, customer=budget.customer, email=f"Leo@{domain.upper()}")
    else:
        accept(world.given_assignment(budget, given_content(), address=f"leo@{domain}"))

    assert warned(budget, content, f"marta@{domain}") == {}


def test_a_domain_that_was_only_assigned_to_or_that_others_use_is_still_warned_of(
    budget: Budget, content: ContentMetadata
) -> None:
    other = given_customer()
    world.given_assignment(budget, given_content(), address="leo@gmial.com")
    accept(world.given_assignment(given_budget(customer=other), given_content(), address="leo@gmial.com"))
    given_user(Role.LEARNER, customer=other, email="leo@gmial.com")
    given_user(Role.ADMINISTRATOR, customer=budget.customer, email="ada@gmial.com")

    assert warned(budget, content, "marta@gmial.com") == {0: ["domain_mistyped"]}


# -- The same course elsewhere ------------------------------------------------------------------------------


def cancel(assignment: LearnerContentAssignment) -> None:
    cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)


def pass_the_deadline(assignment: LearnerContentAssignment) -> None:
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(expires_at=NOW)


def leave_open(_assignment: LearnerContentAssignment) -> None:
    pass


STANDINGS = [
    (leave_open, ["open_elsewhere"]),
    (accept, ["accepted_elsewhere"]),
    (decline, ["declined_elsewhere"]),
    (cancel, []),
    (pass_the_deadline, []),
]


@pytest.mark.parametrize(("then", "codes"), STANDINGS)
def test_what_the_learner_has_or_declined_from_another_budget_is_warned_of(
    budget: Budget,
    other_budget: Budget,
    content: ContentMetadata,
    then: Callable[[LearnerContentAssignment], None],
    codes: list[str],
) -> None:
    other = world.given_assignment(other_budget, content, address=ALICE)
    then(other)

    found = previewed(budget, content, BOB, ALICE)

    assert [one.verdict.value for one in found.matches] == ["new", "new"]
    assert [one.code.value for one in found.warnings.get(1, [])] == codes
    assert 0 not in found.warnings
    for one in found.warnings.get(1, []):
        assert "Languages" in one.sentence
        assert one.details == {
            "assignment_uuid": str(other.uuid),
            "content_key": content.content_key,
            "policy_uuid": str(other_budget.uuid),
        }


def test_a_run_its_course_and_another_run_of_it_are_the_same_course(
    budget: Budget, other_budget: Budget, content: ContentMetadata
) -> None:
    first = ContentMetadata.objects.get(content_key=content.advertised_run)
    second = world.given_run(content, f"course-v1:{content.content_key}+R2")
    for address, had in ((ALICE, first), (BOB, content)):
        world.allocate(other_budget, had, address)
    unrelated = given_content()

    for asked in (first, second, content):
        assert warned(budget, asked, ALICE, BOB) == {0: ["open_elsewhere"], 1: ["open_elsewhere"]}
    assert warned(budget, unrelated, ALICE, BOB) == {}


@pytest.mark.parametrize(("then", "_codes"), STANDINGS)
def test_nothing_of_another_organisation_is_warned_of(
    budget: Budget,
    content: ContentMetadata,
    then: Callable[[LearnerContentAssignment], None],
    _codes: list[str],
) -> None:
    given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    then(world.given_assignment(given_budget(customer=given_customer()), content, address=ALICE))

    assert warned(budget, content, ALICE) == {}


@pytest.mark.parametrize("by", ["an earlier address", "the LMS user id"])
def test_a_learner_is_recognised_by_all_that_they_are_known_by(
    budget: Budget, other_budget: Budget, content: ContentMetadata, by: str
) -> None:
    person = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    other = world.given_assignment(
        other_budget, content, address=ALICE if by == "an earlier address" else CAROL
    )
    if by == "an earlier address":
        person.email = BOB
        person.save()
        LearnerContentAssignment.objects.update(lms_user_id=None)
    else:
        LearnerContentAssignment.objects.filter(pk=other.pk).update(lms_user_id=7)

    asked = BOB if by == "an earlier address" else ALICE
    assert warned(budget, content, asked) == {0: ["open_elsewhere"]}


def test_of_several_the_one_that_matters_most_is_warned_of_once(
    budget: Budget, other_budget: Budget, content: ContentMetadata
) -> None:
    third = given_budget(customer=budget.customer, name="Compliance")
    decline(world.given_assignment(third, content, address=ALICE))
    world.given_assignment(other_budget, content, address=ALICE)
    assert warned(budget, content, ALICE) == {0: ["open_elsewhere"]}
    accept(world.given_assignment(third, ContentMetadata.objects.get(content_key=content.advertised_run)))

    assert warned(budget, content, ALICE) == {0: ["accepted_elsewhere"]}


def test_an_entry_that_would_not_be_allocated_is_not_warned_of(
    budget: Budget, other_budget: Budget, content: ContentMetadata
) -> None:
    world.allocate(other_budget, content, ALICE)
    world.allocate(budget, content, ALICE, "leo@larkspur.invalid")

    assert warned(budget, content, ALICE, "leo@larkspur.invalid", BOB, BOB) == {}


def test_the_assignment_that_would_be_allocated_again_is_not_another_one(
    budget: Budget, content: ContentMetadata
) -> None:
    decline(world.given_assignment(budget, content, address=ALICE))
    LearnerContentAssignment.objects.update(cycle=2)  # it was assigned again, and cancelled

    found = previewed(budget, content, ALICE)

    assert [one.verdict.value for one in found.matches] == ["reallocated"]
    assert found.warnings == {}


def test_a_forgotten_learners_answer_is_not_warned_of(
    budget: Budget, other_budget: Budget, content: ContentMetadata
) -> None:
    given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    other = world.given_assignment(other_budget, content, address=ALICE)
    decline(other)
    LearnerContentAssignment.objects.filter(pk=other.pk).update(forgotten_at=NOW)

    assert warned(budget, content, ALICE) == {}


# -- Money --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seats", "beyond"), [(0, [0, 3, 4]), (1, [3, 4]), (2, [4]), (3, [])])
def test_in_the_order_of_the_list_what_is_not_paid_for_is_warned_of(
    content: ContentMetadata, seats: int, beyond: list[int]
) -> None:
    budget = given_budget(seats=seats + 1)
    world.allocate(budget, content, ALICE)

    budget = Budget.objects.get()
    found = previewed(budget, content, BOB, ALICE, BOB, CAROL, "dan@learners.example")

    assert sorted(found.warnings) == beyond
    for [one] in found.warnings.values():
        assert (one.code, one.details) == ("beyond_available", {"affordable_seats": seats})
    assert [(one.code.value, one.count) for one in summary(found.warnings)] == (
        [("beyond_available", len(beyond))] if beyond else []
    )


def test_what_the_account_does_not_pay_for_is_beyond_too(content: ContentMetadata) -> None:
    budget = given_budget(seats=9)
    budget.account.limit_cents = PRICE
    budget.account.save()

    assert warned(budget, content, ALICE, BOB) == {1: ["beyond_available"]}


@pytest.mark.parametrize(("price_cents", "beyond"), [(PRICE, [0, 1]), (0, [])])
def test_a_limit_lowered_below_what_is_reserved_pays_for_no_entry_that_costs(
    price_cents: int, beyond: list[int]
) -> None:
    budget = given_budget(seats=3)
    world.allocate(budget, given_content(), ALICE, BOB)
    Budget.objects.update(limit_cents=PRICE)

    content = given_content(price_cents=price_cents)
    found = warned(Budget.objects.get(), content, CAROL, "dan@learners.example", price_cents=price_cents)

    assert sorted(found) == beyond


@pytest.mark.parametrize(("limit", "price_cents"), [(None, PRICE), (0, 0)])
def test_where_nothing_limits_or_nothing_costs_no_entry_is_beyond(
    limit: int | None, price_cents: int
) -> None:
    budget = given_budget(limit_cents=limit)

    assert warned(budget, given_content(price_cents=price_cents), ALICE, price_cents=price_cents) == {}


# -- All of them --------------------------------------------------------------------------------------------


def test_the_kinds_are_counted_and_each_says_what_to_do(
    budget: Budget, other_budget: Budget, content: ContentMetadata
) -> None:
    world.allocate(other_budget, content, "marta@gmial.com", ALICE)

    found = previewed(budget, content, "leo@larkspur.invalid", ALICE, "marta@gmial.com")

    assert {at: [one.code.value for one in some] for at, some in found.warnings.items()} == {
        0: ["domain_reserved"],
        1: ["open_elsewhere"],
        2: ["domain_mistyped", "open_elsewhere"],
    }
    counted = summary(found.warnings)
    assert [(one.code.value, one.count) for one in counted] == [
        ("domain_mistyped", 1),
        ("domain_reserved", 1),
        ("open_elsewhere", 2),
    ]
    assert all(one.sentence.endswith(f": {one.count}.") and one.next_step for one in counted)


def test_ten_thousand_addresses_take_three_statements_more(
    budget: Budget, other_budget: Budget, content: ContentMetadata, django_assert_num_queries: NumQueries
) -> None:
    people = [*world.addresses(9_999), "marta@gmial.com"]
    world.allocate(other_budget, content, *people[::1000])
    seats = previewed(budget, content, *people).matches

    with django_assert_num_queries(3):
        found = preview_warnings.find(
            budget, seats, course_key=content.content_key, price_cents=PRICE, now=NOW
        )

    assert sorted(found) == [*range(0, 10_000, 1000), 9_999]
