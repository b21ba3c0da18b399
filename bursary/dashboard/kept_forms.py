"""A form that is sent without a session: its fields go along with signing in, and are sent again then."""

from collections.abc import Mapping

from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext_lazy

PREFIX = "kept-"
"""The prefix of the names of kept fields, beside the fields of the form to sign in."""
NOT_KEPT = frozenset({"csrfmiddlewaretoken", "assign", "preview", "search"})
"""The token, which signing in ends, and the buttons: what is sent again is a preview at first."""

UNSENT = gettext_lazy("Your sign-in had ended; nothing was done.")
"""About a form that is not kept."""


def kept(posted: QueryDict) -> dict[str, str]:
    """Return the kept fields of a sent form to sign in, by their own names."""
    return {name.removeprefix(PREFIX): str(posted[name]) for name in posted if name.startswith(PREFIX)}


def typed(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a form that are to be kept."""
    return {name: text for name, text in fields.items() if name not in NOT_KEPT}


def ask_to_sign_in(request: HttpRequest, keep: Mapping[str, str]) -> HttpResponse:
    """Answer 401 with the page to sign in, which keeps the fields and leads to the request's page."""
    context = {"form": AuthenticationForm(request), "next": request.path, "kept": keep}
    return render(request, "dashboard/sign-in.html", context, status=401)
