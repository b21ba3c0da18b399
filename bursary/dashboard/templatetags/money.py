"""Money in templates."""

from django import template

register = template.Library()


@register.filter
def dollars(cents: int | None) -> str:
    """Return cents as dollars; None is a pot without a limit."""
    return "unlimited" if cents is None else f"${cents // 100:,}.{cents % 100:02}"
