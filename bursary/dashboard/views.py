"""The first pages: home, the user's assignments, one assignment, signing in and out."""

from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from bursary.access.models import User
from bursary.dashboard import assignment_page, kept_forms
from bursary.dashboard.account_forms import SignInForm
from bursary.dashboard.headers import page, page_of_user
from bursary.dashboard.overview import overview, own_page


@page
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Introduce Bursary; show a signed-in user their notices, budgets and assignments."""
    user = request.user
    shown = overview(user, now=timezone.now()) if isinstance(user, User) else None
    passwords = Path(settings.VAR_DIR) / "demo.json"  # this file exists in a demonstration
    demo_file = f"{passwords.parent.name}/{passwords.name}" if passwords.exists() else ""
    return render(request, "dashboard/home.html", {"overview": shown, "demo_file": demo_file})


@page
@require_safe
@login_required
def own_assignments(request: HttpRequest) -> HttpResponse:
    """List the assignments of the signed-in user, in pages."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101  # login_required sees to it
    page_of_own = own_page(user, number=request.GET.get("page", "1"), now=timezone.now())
    return render(request, "dashboard/own.html", {"page_of_own": page_of_own})


@page_of_user
def assignment(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Show an assignment to its administrators and its learner; 404 for others.

    For htmx, administrators get the parts that may have changed.
    """
    number, as_learner = request.GET.get("page", "1"), request.GET.get("as") == "learner"
    loaded = assignment_page.load(uuid, reader=user, now=timezone.now(), number=number, as_learner=as_learner)
    if loaded is None:
        raise Http404(assignment_page.NOT_FOUND)
    if loaded.of_administrator and request.headers.get("HX-Request"):
        return render(request, "dashboard/parts/administrator.html", {"page": loaded, "live": True})
    context = {"page": loaded, "invitation": loaded.invitation}
    return render(request, "dashboard/assignment.html", context)


@method_decorator(page, name="dispatch")
class SignIn(LoginView):
    """Sign in, then redirect to the page that required it, or show the kept form to send again."""

    template_name = "dashboard/sign-in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Show that nothing was done, even if the user has signed in meanwhile in another tab."""
        if request.user.is_authenticated and self._unsent:
            messages.warning(request, kept_forms.UNSENT)
        return super().dispatch(request, *args, **kwargs)

    def get_redirect_url(self) -> str:  # type: ignore[override]  # the stubs are of a later Django
        """Return the page that required signing in; empty if it is this page, which would be a loop."""
        url = super().get_redirect_url()
        return "" if url.partition("?")[0] == self.request.path else url

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        """Return the page's context, with the kept form."""
        more |= {"kept": kept_forms.kept(self.request.POST), "unsent": self._unsent}
        return super().get_context_data(**more)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in."""
        response = super().form_valid(form)
        if kept := kept_forms.kept(self.request.POST):
            context = {"kept": kept, "next": self.get_success_url()}
            return render(self.request, "dashboard/signed-in.html", context)
        if self._unsent:
            messages.warning(self.request, kept_forms.UNSENT)
        return response

    @property
    def _unsent(self) -> str:
        """The message about a form that was sent without a session; empty if there was none."""
        fields = self.request.POST if self.request.method == "POST" else self.request.GET
        return str(kept_forms.UNSENT) if "unsent" in fields else ""


@method_decorator(page, name="dispatch")
class SignOut(LogoutView):
    """Sign out, by POST; a GET leads home."""

    http_method_names = ("get", "head", "post", "options")

    def get(self, request: HttpRequest) -> HttpResponse:
        """Change nothing."""
        return redirect("home")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show on the home page that the user has signed out."""
        response = super().post(request, *args, **kwargs)
        messages.success(request, _("You are signed out."))
        return response


@require_safe
def icon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon, for browsers that request `/favicon.ico`."""
    return redirect(static("dashboard/bursary.svg"), permanent=True)
