"""The pages. Each view reads its address, makes one call and renders the answer."""

from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods, require_safe

from bursary.access.models import User
from bursary.budgets import ledger
from bursary.dashboard import assign
from bursary.dashboard.assignment_page import cancel, load
from bursary.dashboard.assignment_page import revoke_links as withdraw
from bursary.dashboard.forms import AssignForm, SearchForm
from bursary.dashboard.headers import form_leads_to, page
from bursary.dashboard.overview import overview
from bursary.dashboard.templatetags.money import dollars


@page
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Say what this is and where to click; to who is signed in, what they may see."""
    user = request.user
    context = {
        "overview": overview(user, now=timezone.now()) if isinstance(user, User) else None,
        "demo_file": _demo_file(),
    }
    return render(request, "dashboard/home.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def assignment(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show an assignment to who answers for it and to its learner; to anybody else there is none.

    POST cancels it.
    """
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    if request.method == "POST":
        return _cancel(request, uuid, actor=request.user)
    told = load(uuid, reader=request.user, now=timezone.now())
    if told is None:
        raise Http404("There is no such assignment.")
    context = {"story": told, "invitation": told.invitation}
    response = render(request, "dashboard/assignment.html", context)
    return form_leads_to(told.invitation.leads_to if told.invitation else "", response=response)


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def revoke_links(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Withdraw the links to an assignment in mails that were sent, by POST; then show it."""
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    if request.method == "POST":
        if not withdraw(uuid, actor=request.user, now=timezone.now()):
            raise Http404("There is no such assignment.")
        messages.success(request, "The links in mails sent so far open nothing any more.")
    return redirect("assignment", uuid)


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def assign_content(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Assign a course or run from a budget, or try it out first."""
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    now = timezone.now()
    budget = assign.budget_for(request.user, uuid)
    if budget is None:
        raise Http404("There is no such budget.")
    form = AssignForm(request.POST if request.method == "POST" else None, auto_id="%s")
    really = "assign" in request.POST
    answer = assign.answer_form(form, budget, really=really, actor=request.user, now=now)
    if answer.done:
        messages.success(request, answer.done)
        return redirect("home")
    search = SearchForm(request.GET, auto_id="%s")
    words = search.cleaned_data["q"] if search.is_valid() else ""
    chosen = None if answer.price_moved else form.choice
    context = {
        "budget": budget,
        "available_cents": ledger.available_cents(budget),
        "search": search,
        "shelf": assign.catalog_choices(budget, words=words, now=now, chosen=chosen),
        "form": form,
        "answer": answer,
    }
    return render(request, "dashboard/assign.html", context)


@method_decorator(page, name="dispatch")
class SignIn(LoginView):
    """Sign in, and go on to where one was going."""

    template_name = "dashboard/sign-in.html"
    redirect_authenticated_user = True

    def get_redirect_url(self) -> str:  # type: ignore[override]  # the stubs are of a later Django
        """Return where one was going; nowhere, if that is this page: it would lead round in a circle."""
        going = super().get_redirect_url()
        return "" if going.partition("?")[0] == self.request.path else going


@method_decorator(page, name="dispatch")
class SignOut(LogoutView):
    """Sign out, by POST."""


def _cancel(request: HttpRequest, uuid: UUID, *, actor: User) -> HttpResponse:
    outcome = cancel(uuid, actor=actor, now=timezone.now())
    if outcome is None:
        raise Http404("There is no such assignment.")
    for assignment in outcome.cancelled:
        freed = dollars(assignment.price_cents)
        messages.success(request, f"Cancelled: {freed} is free again, and a mail will tell the learner.")
    for _ in outcome.unchanged:
        messages.info(request, "It was cancelled before.")
    for standing in outcome.refused.values():
        messages.error(request, f"It is {standing}: only what is open can be cancelled.")
    return redirect("assignment", uuid)


def _demo_file() -> str:
    """Return where the demonstration's passwords are, as one would type it; empty without one."""
    file = Path(settings.VAR_DIR) / "demo.json"
    return f"{file.parent.name}/{file.name}" if file.exists() else ""
