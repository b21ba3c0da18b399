"""Template filters for amounts."""

from django import template

register = template.Library()


@register.filter
def dollars(cents: int | None) -> str:
    """Return cents as dollars, `$1,234.50`; None is `unlimited`."""
    if cents is None:
        return "unlimited"
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${whole:,}.{rest:02}"
