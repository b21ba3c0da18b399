"""Template filters for people: an erased address or account is shown as such, never as its placeholder."""

from django import template

from bursary.access import anonymisation

register = template.Library()
register.filter("learner", anonymisation.shown_address)
register.filter("actor", anonymisation.shown_actor)
