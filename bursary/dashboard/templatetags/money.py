"""Template filters for amounts."""

from django import template

from bursary.lib.money import dollars

register = template.Library()
register.filter(dollars)
