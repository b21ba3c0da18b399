"""Template filters for people: an erased address or account is shown as such, never as its placeholder."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from bursary.access import anonymisation

register = template.Library()
register.filter("learner", anonymisation.shown_address)
register.filter("actor", anonymisation.shown_actor)


@register.filter
def breakable(address: str) -> SafeString:
    """Return an address that a narrow column breaks after its @ rather than within a word."""
    name, at, domain = address.partition("@")
    return format_html("{}@<wbr>{}" if at else "{}{}", name, domain)
