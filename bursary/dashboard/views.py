"""The pages. Each view reads its address, makes one call and renders the answer."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from bursary.access.models import User
from bursary.dashboard.overview import overview
from bursary.dashboard.story import story

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

P = ParamSpec("P")


def page(view: Callable[P, HttpResponseBase]) -> Callable[P, HttpResponseBase]:
    """Make a view's answer private, and forbid whatever the pages do not use: scripts above all."""

    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = view(*args, **kwargs)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return never_cache(answer)


@page
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Say what this is and where to click; to who is signed in, what they may see."""
    user = request.user
    context = {
        "overview": overview(user) if isinstance(user, User) else None,
        "demo_file": _demo_file(),
    }
    return render(request, "dashboard/home.html", context)


@page
@require_safe
@login_required
def assignment(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show an assignment to who answers for it and to its learner; to anybody else there is none."""
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    told = story(uuid, reader=request.user)
    if told is None:
        raise Http404("There is no such assignment.")
    return render(request, "dashboard/assignment.html", {"story": told})


@method_decorator(page, name="dispatch")
class SignIn(LoginView):
    """Sign in, and go on to where one was going."""

    template_name = "dashboard/sign-in.html"
    redirect_authenticated_user = True


@method_decorator(page, name="dispatch")
class SignOut(LogoutView):
    """Sign out, by POST."""


def _demo_file() -> str:
    """Return where the demonstration's passwords are, as one would type it; empty without one."""
    file = Path(settings.VAR_DIR) / "demo.json"
    return f"{file.parent.name}/{file.name}" if file.exists() else ""
