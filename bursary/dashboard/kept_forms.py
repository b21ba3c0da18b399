"""A form that is sent without a session: the sign-in form keeps its fields, and they are sent again then."""

from collections.abc import Mapping

from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext_lazy

PREFIX = "kept-"
"""The prefix of the names of kept fields in the sign-in form."""
NOT_KEPT = frozenset({"csrfmiddlewaretoken", "assign", "preview", "search"})
"""Fields that are not kept: the token, which signing in ends, and the buttons, so that a preview follows."""

UNSENT = gettext_lazy("Your sign-in had ended; nothing was done.")
"""The message about a form that is not kept."""


def kept(posted: QueryDict) -> dict[str, str]:
    """Return the kept fields in a sent sign-in form, by their own names."""
    return {name.removeprefix(PREFIX): str(posted[name]) for name in posted if name.startswith(PREFIX)}


def typed(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a form that the sign-in form keeps."""
    return {name: text for name, text in fields.items() if name not in NOT_KEPT}


def ask_to_sign_in(request: HttpRequest, keep: Mapping[str, str]) -> HttpResponse:
    """Return the sign-in page with status 401; it keeps the fields, and leads to the request's page."""
    context = {"form": AuthenticationForm(request), "next": request.path, "kept": keep}
    return render(request, "dashboard/sign-in.html", context, status=401)
