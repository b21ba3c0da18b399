"""Money in templates."""

from django import template

register = template.Library()


@register.filter
def dollars(cents: int | None) -> str:
    """Return cents as dollars; None is a pot without a limit."""
    if cents is None:
        return "unlimited"
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${whole:,}.{rest:02}"
