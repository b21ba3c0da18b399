"""Amounts of money as people read them."""

from django.utils.formats import number_format
from django.utils.translation import gettext


def dollars(cents: int | None) -> str:
    """Return cents as dollars in the reader's language, in English `$1,234.50`; `unlimited` for None."""
    if cents is None:
        return gettext("unlimited")
    whole, rest = divmod(abs(cents), 100)
    amount = number_format(f"{whole}.{rest:02}", decimal_pos=2, use_l10n=True, force_grouping=True)
    # Translators: where the dollar sign stands, such as "%(amount)s $".
    return ("-" if cents < 0 else "") + gettext("$%(amount)s") % {"amount": amount}
