import pytest

from bursary.catalog.prices import MAX_CENTS, NotAPrice, cents


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        (149.0, 14900),
        (149.1, 14910),
        (0.29, 29),
        (149, 14900),
        ("149.50", 14950),
        (" 2900.00 ", 290000),
        ("1.495E+2", 14950),
        (".5", 50),
        (0.0, 0),
        (-0.0, 0),
        ("0.00", 0),
        (10_000_000, MAX_CENTS),
    ],
)
def test_dollars_become_exact_cents(dollars: object, expected: int) -> None:
    assert cents(dollars) == expected


@pytest.mark.parametrize(
    ("dollars", "expected"), [("0.005", 1), ("149.994", 14999), ("149.995", 15000), (1.005, 101)]
)
def test_half_a_cent_rounds_up(dollars: object, expected: int) -> None:
    assert cents(dollars) == expected


@pytest.mark.parametrize("value", ["1,299.00", "1.299,00", "1_299", "$149", "free", "", "١٤٩", "9" * 65])
def test_text_that_is_not_a_plain_number_is_refused_not_guessed_at(value: str) -> None:
    with pytest.raises(NotAPrice, match="is not a price"):
        cents(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), "NaN", "Infinity", True, [], {}]
)
def test_what_is_no_amount_at_all_is_refused(value: object) -> None:
    with pytest.raises(NotAPrice, match="is not a price"):
        cents(value)


@pytest.mark.parametrize("value", [-199, -199.0, "-0.01"])
def test_a_negative_price_is_refused(value: object) -> None:
    with pytest.raises(NotAPrice, match="is negative"):
        cents(value)


@pytest.mark.parametrize(
    "value", [10_000_001, "10000000.01", 1e300, "1e999", pytest.param(10**5000, id="enormous")]
)
def test_an_absurd_price_is_refused_before_it_reaches_a_column(value: object) -> None:
    with pytest.raises(NotAPrice, match="is more than any course costs"):
        cents(value)


def test_a_price_too_small_for_a_cent_does_not_become_free() -> None:
    with pytest.raises(NotAPrice, match="is less than a cent"):
        cents("0.001")
