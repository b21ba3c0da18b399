"""`bursary setup`: a real user's first customer, administrator and budget."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from bursary.access.models import ApiKey, Role, RoleGrant, User
from bursary.budgets.models import Account, Budget, Customer
from bursary.ops.setup import cents
from tests.world import NOW, given_user

pytestmark = pytest.mark.django_db

NO_USER_NAME = "^--administrator-email: The user name is the address, and has at most 150 characters"
CATALOG = UUID("7e0a1f0c-4f0e-4c55-9b60-9a4d1f1b7a10")
ASKED = {
    "customer": "Larkspur Logistics",
    "time_zone": "Europe/Madrid",
    "administrator_email": "Ada@Larkspur.example",
    "budget": "Skills",
    "limit": "5000.00",
    "catalog_uuid": str(CATALOG),
}


def run(**options: Any) -> dict[str, Any]:
    said = StringIO()
    call_command("setup", json=True, stdout=said, **{**ASKED, **options})
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def counts() -> list[int]:
    return [model.objects.count() for model in (Customer, Account, Budget, User, RoleGrant, ApiKey)]


def test_a_customer_an_administrator_and_a_budget_are_made() -> None:
    answer = run()

    budget = Budget.objects.select_related("customer", "account").get()
    assert (budget.name, budget.limit_cents, budget.catalog_uuid) == ("Skills", 500_000, CATALOG)
    assert (budget.customer.slug, budget.customer.time_zone) == ("larkspur-logistics", "Europe/Madrid")
    assert budget.account.customer == budget.customer
    assert answer["differs"] == {}
    assert answer["budget"]["uuid"] == str(budget.uuid)
    assert answer["made"] == ["customer", "administrator", "role", "budget", "api key"]


def test_the_administrator_can_sign_in_with_what_is_printed_once() -> None:
    printed = run()["administrator"]

    ada = User.objects.get()
    assert ada.check_password(printed["password"])
    assert ApiKey.objects.get().digest == ApiKey.digest_of(printed["api_key"])
    assert not ada.is_staff
    assert RoleGrant.objects.get().role == Role.ADMINISTRATOR


def test_the_same_again_changes_nothing_and_says_so() -> None:
    run()
    before = counts()

    again = run(administrator_email="ada@larkspur.example", limit="9.99")

    assert counts() == before
    assert again["changed"] is False
    assert again["administrator"]["password"] is None
    assert Budget.objects.get().limit_cents == 500_000


def test_in_words_the_same_again_says_that_nothing_was_changed() -> None:
    run()
    said = StringIO()

    call_command("setup", stdout=said, **ASKED)

    assert said.getvalue() == "Everything is there already; nothing was changed.\n"


@time_machine.travel(NOW, tick=False)
def test_terms_that_differ_from_those_of_the_budget_are_named_and_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run()
    other = {"customer": "LARKSPUR Logistics", "time_zone": "UTC", "limit": "unlimited", "ends": "2027-06-30"}
    other["catalog_uuid"] = "7e0a1f0c-4f0e-4c55-9b60-9a4d1f1b7a11"
    budget, customer = (model.objects.values().get() for model in (Budget, Customer))

    call_command("setup", **{**ASKED, **other})

    assert [model.objects.values().get() for model in (Budget, Customer)] == [budget, customer]
    printed = capsys.readouterr()
    assert printed.out == "Nothing was changed.\n"
    assert printed.err.splitlines() == [
        "Warning: the organisation's name is Larkspur Logistics, not LARKSPUR Logistics, and was not "
        "changed. Change it in the Django admin, under Customers.",
        "Warning: the organisation's time zone is Europe/Madrid, not UTC, and was not changed. "
        "Change it in the Django admin, under Customers.",
        "Warning: the budget's limit is $5,000.00, not unlimited, and was not changed. "
        "Change it in the Django admin, under Budgets.",
        f"Warning: the budget's catalog is {CATALOG}, not {other['catalog_uuid']}, and was not changed. "
        "Change it in the Django admin, under Budgets.",
        "Warning: the budget's end is none, not Wednesday, 30 June 2027, 23:59 (Madrid time), and was not "
        "changed. Change it in the Django admin, under Budgets.",
    ]


@time_machine.travel(NOW, tick=False)
def test_an_end_that_is_the_same_to_the_minute_is_no_difference_to_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(ends="2027-06-30")

    call_command("setup", **ASKED, ends="2027-06-30T23:59")
    assert capsys.readouterr() == ("Everything is there already; nothing was changed.\n", "")

    call_command("setup", **ASKED, ends="2027-06-30T23:58")
    assert capsys.readouterr().err == (
        "Warning: the budget's end is Wednesday, 30 June 2027, 23:59 (Madrid time), not Wednesday, 30 June "
        "2027, 23:58 (Madrid time), and was not changed. Change it in the Django admin, under Budgets.\n"
    )


@time_machine.travel(NOW, tick=False)
def test_a_program_is_given_both_values_of_what_differs() -> None:
    assert run(ends="2027-06-30")["differs"] == {}
    assert run(time_zone=None)["differs"] == {}  # neither is what is not given
    assert run(ends="2027-07-01T12:00", limit="9.99")["differs"] == {
        "limit_cents": {"existing": 500_000, "given": 999},
        "ends_at": {"existing": "2027-06-30T23:59:59+02:00", "given": "2027-07-01T12:00:00+02:00"},
    }


def test_a_new_organisation_without_a_time_zone_has_utc() -> None:
    run(time_zone=None)
    assert Customer.objects.get().time_zone == "UTC"


def test_another_budget_of_the_same_customer_shares_its_account() -> None:
    run()

    assert run(budget="Languages")["made"] == ["budget"]
    assert Account.objects.count() == 1


def test_another_key_can_be_issued_and_the_first_goes_on_working() -> None:
    first = run()["administrator"]["api_key"]

    second = run(new_key=True)["administrator"]["api_key"]

    digests = set(ApiKey.objects.filter(revoked_at=None).values_list("digest", flat=True))
    assert digests == {ApiKey.digest_of(first), ApiKey.digest_of(second)}


def test_space_around_an_option_makes_nothing_again() -> None:
    run()
    assert run(**{name: f" {value} " for name, value in ASKED.items()})["changed"] is False


def test_a_dry_run_makes_nothing_and_says_what_it_would() -> None:
    answer = run(dry_run=True)

    assert answer["made"] == ["customer", "administrator", "role", "budget", "api key"]
    assert answer["administrator"]["password"] is None
    assert counts() == [0, 0, 0, 0, 0, 0]


@time_machine.travel(NOW, tick=False)
def test_a_budget_lasts_to_the_end_of_its_last_day_where_the_customer_is() -> None:
    run(ends="2027-06-30")

    assert Budget.objects.get().ends_at == datetime(2027, 6, 30, 21, 59, 59, tzinfo=UTC)


LAST_SECOND = datetime(2026, 6, 30, 21, 59, 59, tzinfo=UTC)  # of the day in Madrid


@pytest.mark.parametrize("ends", ["2026-06-30", "2026-06-30T12:00", "1999-12-31"])
def test_a_new_budget_does_not_end_in_the_past(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = f"^--ends {ends}: This is past in Madrid time: .* Give a later end"
    with time_machine.travel(LAST_SECOND, tick=False), pytest.raises(CommandError, match=refused):
        run(ends=ends)
    assert counts() == [0, 0, 0, 0, 0, 0]

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", Mock(side_effect=AssertionError("asked")))
    with time_machine.travel(LAST_SECOND, tick=False), pytest.raises(CommandError, match=refused):
        call_command("setup", **{**ASKED, "limit": None, "ends": ends})


def test_a_setup_with_an_end_that_is_run_again_after_it_changes_nothing() -> None:
    with time_machine.travel(LAST_SECOND - timedelta(seconds=1), tick=False):
        run(ends="2026-06-30")
    with time_machine.travel(LAST_SECOND, tick=False):
        assert run(ends="2026-06-30")["changed"] is False


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time_zone": "Madrid"}, "Madrid is not a time zone"),
        ({"administrator_email": "ada"}, "--administrator-email: Enter a valid email address."),
        ({"time_zone": "Mars"}, "--time-zone: Mars is not a time zone, such as Europe/Madrid."),
        ({"catalog_uuid": "x"}, "--catalog-uuid x: This is no uuid, such as "),
        ({"limit": "lots"}, "--limit lots: A limit is zero or more dollars"),
        ({"limit": "-5"}, "--limit -5: A limit is zero or more dollars"),
        ({"catalog_uuid": "x"}, "--catalog-uuid x: "),
        ({"ends": "tomorrow"}, "--ends tomorrow: "),
        ({"slug": "Not a slug"}, "slug: "),
        ({"customer": "Larkspur\nLogistics"}, "--customer: Give a name in one line, without control char"),
        ({"customer": "\u2028"}, "--customer: Give a name in one line"),
        ({"customer": "Lark\0spur"}, "--customer: Give a name in one line"),
        ({"budget": "Skills\x1b[2J"}, "--budget: Give a name in one line"),
        ({"budget": "Skills\ud800"}, "--budget: Give a name in one line"),
        ({"budget": "\u2003"}, "--budget: Give a name in one line"),
        ({"administrator_email": "ada@localhost"}, "--administrator-email: Its domain has no full stop"),
        ({"administrator_email": f"ada@{'l' * 60}.{'r' * 60}.{'a' * 21}.invalid"}, NO_USER_NAME),
        ({"administrator_email": "o'ada@larkspur.example"}, NO_USER_NAME),
        ({"customer": "\N{CJK UNIFIED IDEOGRAPH-6771}"}, "--customer .: No short name .* Give one by --slug"),
        ({"customer": "L" * 65}, "--customer L*: No short name of at most 64 letters"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_made(
    wrong: dict[str, str], said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        run(**wrong)

    assert counts() == [0, 0, 0, 0, 0, 0]


def test_an_account_that_exists_administers_whatever_its_address_is() -> None:
    given_user(username="ada", email="o'ada@larkspur.example")

    printed = run(administrator_email="o'ada@larkspur.example")["administrator"]

    assert (printed["username"], User.objects.count()) == ("ada", 1)


def test_a_short_name_has_up_to_64_letters() -> None:
    assert run(customer="L" * 64)["customer"]["slug"] == "l" * 64


def test_a_given_short_name_serves_where_none_can_be_made_of_the_name() -> None:
    name = "\N{CJK UNIFIED IDEOGRAPH-6771}\N{ZERO WIDTH JOINER}" + "L" * 253
    assert run(customer=name, slug="east")["customer"]["name"] == name


def test_without_a_terminal_missing_options_are_named() -> None:
    with pytest.raises(CommandError, match="Give --customer, --limit"):
        run(customer=None, limit=None)


def test_what_is_missing_is_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def reply(question: str) -> str:
        asked.append(question)
        return "unlimited"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", reply)

    call_command("setup", stdout=StringIO(), **{**ASKED, "limit": None})

    assert asked == ["The budget's limit in dollars, or unlimited: "]
    assert Budget.objects.get().limit_cents is None


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--customer", "L" * 256),
        ("--budget", "B" * 256),
        ("--limit", "much"),
        ("--catalog-uuid", "ours"),
        ("--administrator-email", "ada at larkspur"),
        ("--slug", "Not a slug"),
        ("--time-zone", "Mars"),
        ("--ends", "tomorrow"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_before_anything_is_asked(
    option: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", Mock(side_effect=AssertionError("asked")))
    with pytest.raises(CommandError, match=f"^{option}"):
        call_command("setup", option, text)


def test_an_end_that_cannot_be_read_is_refused_with_the_time_zone_in_which_it_is_meant() -> None:
    with pytest.raises(CommandError, match="without a zone it is meant in Europe/Madrid"):
        run(ends="tomorrow")


def test_the_end_of_the_input_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", Mock(side_effect=EOFError))

    with pytest.raises(CommandError, match="No answer was given"):
        call_command("setup", **{**ASKED, "limit": None})


def test_a_bad_answer_is_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["", "a\tb", "L" * 65, "Larkspur"]
    addresses = ["", "ada", f"{'a' * 64}@{'l' * 63}.{'r' * 14}.invalid", "ada@larkspur.example"]
    answers = iter([*names, *addresses, "lots", "1e3", "5"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: next(answers))
    warned = StringIO()

    asked = {**ASKED, "customer": None, "administrator_email": None, "limit": None}
    call_command("setup", stdout=StringIO(), stderr=warned, **asked)

    assert warned.getvalue().count("Enter a valid email address.") == 2
    assert "lots: A limit is zero or more dollars" in warned.getvalue()
    assert "Give a name in one line" in warned.getvalue()
    assert "No short name of at most 64 letters" in warned.getvalue()
    assert "The user name is the address" in warned.getvalue()
    assert "1e3: A limit is zero or more dollars" in warned.getvalue()
    assert Budget.objects.get().limit_cents == 500


def test_without_tables_it_says_what_to_do_first() -> None:
    MigrationRecorder(connection).migration_qs.filter(app="assignments").delete()

    with pytest.raises(CommandError, match="Run `bursary migrate`, or set"):
        run()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        *(("5000.00", 500_000), ("$1,250", 125_000), ("0", 0), ("149.5", 14_950), (" Unlimited ", None)),
        *(("1,234,567.05", 123_456_705), ("999999999999.99", 99_999_999_999_999)),
    ],
)
def test_dollars_are_read_exactly(text: str, amount: int | None) -> None:
    assert cents(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "0.001",
            "NaN",
            "-Infinity",
            "1e400x",
            "five",
            "1e3",
            "1E3",
            "1_000",
            "+5",
            "-0",
            "0x10",
            "5.",
            ".5",
        ),
        *(
            "\N{ARABIC-INDIC DIGIT FIVE}",
            "5\0",
            "5 000",
            "149,50",
            "1,25",
            ",5",
            "1,2500",
            "$$5",
            "1000000000000",
        ),
    ],
)
def test_what_is_no_amount_is_not_guessed_at(text: str) -> None:
    with pytest.raises(ValueError, match="A limit is"):
        cents(text)
