"""Template tags for the elements of every page."""

from django import template
from django.forms import BoundField, Select
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return an icon of the vendored sprite. Screen readers skip it, so the page needs words beside it."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        static("vendor/icons.svg"),
        name,
    )


@register.filter
def control(field: BoundField) -> SafeString:
    """Return a field's input in the style of all pages."""
    is_choice = isinstance(field.field.widget, Select)
    return field.as_widget(attrs={"class": "form-select" if is_choice else "form-control"})
