"""Amounts of money as people read them."""


def dollars(cents: int | None) -> str:
    """Return cents as dollars, such as `$1,234.50`; None, for no limit, as `unlimited`."""
    if cents is None:
        return "unlimited"
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${whole:,}.{rest:02}"
