"""The page to assign a course, and the page of an allocation batch."""

from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from bursary.access.models import User
from bursary.assignments.allocation import LONGEST_MESSAGE
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.dashboard import assign, batch_page, kept_forms, kept_results
from bursary.dashboard.assign import AssignResult
from bursary.dashboard.catalog_choices import catalog_choices
from bursary.dashboard.forms import AssignForm, SearchForm
from bursary.dashboard.headers import page, page_of_user


@page
def assign_content(request: HttpRequest, uuid: UUID) -> HttpResponseBase:
    """Allocate a course or run from a budget, or preview it; or search the catalog, keeping the form's input.

    For htmx, a GET returns the courses found, and a POST the preview. A form that is sent without a session
    does nothing: its input, with the text of a file, is kept until the user has signed in.
    """
    if request.method == "POST" and not (request.user.is_authenticated or request.headers.get("HX-Request")):
        form = AssignForm(request.POST, request.FILES, zone=ZoneInfo("UTC"))
        form.is_valid()  # reads the file into the list
        if typed := kept_forms.typed(form.typed):
            return kept_forms.ask_to_sign_in(request, typed)
    return _assign_content(request, uuid)


@page_of_user
def _assign_content(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    budget = assign.budget_for(user, uuid)
    if budget is None:
        raise Http404("There is no such budget.")
    page_parts = _AssignPage(request, budget, user)
    if batch_uuid := page_parts.result.batch_uuid:
        if page_parts.result.done:
            # Not by `messages`: the next page shows these, which may be in another tab.
            kept_results.keep(
                request.session,
                kind=kept_results.ASSIGNED,
                name=str(batch_uuid),
                piece=page_parts.result.done,
            )
        return redirect("batch", batch_uuid)
    return render(request, page_parts.template, page_parts.context())


@page
@require_safe
@login_required
def batch(request: HttpRequest, batch_uuid: UUID) -> HttpResponse:
    """Show an allocation batch and the progress of its mails; for htmx, only the progress."""
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    found = batch_page.batch_for(request.user, batch_uuid)
    if found is None:
        raise Http404("There is no such batch.")
    cursor = request.GET.get("cursor", "")
    context: dict[str, Any] = {
        "page": batch_page.load(found, reader=request.user, cursor=cursor, now=timezone.now())
    }
    if request.headers.get("HX-Request"):
        return render(request, "dashboard/parts/batch_progress.html", context)
    context["unchanged"] = batch_page.unchanged(found, start=request.GET.get("others", ""))
    context["summary"] = batch_page.summary(found)
    # HEAD shows no sentence: it is kept for the GET that does.
    done = kept_results.kept if request.method == "HEAD" else kept_results.pop
    context["done"] = done(request.session, kind=kept_results.ASSIGNED, name=str(batch_uuid))
    return render(request, "dashboard/batch.html", context)


class _AssignPage:
    """One request to the page to assign: its work, and the context for the templates."""

    def __init__(self, request: HttpRequest, budget: Budget, user: User) -> None:
        posted, zone = request.method == "POST", budget.customer.zone
        self.budget, self.now = budget, timezone.now()
        self.live = bool(request.headers.get("HX-Request"))
        asked = request.POST if posted else request.GET
        self.template = "dashboard/assign.html"
        if self.live:
            self.template = f"dashboard/parts/{'assign_preview' if posted else 'assign_courses'}.html"
        self.form = AssignForm(asked, request.FILES, zone=zone, auto_id="%s")
        self.result = AssignResult()
        is_search = not posted or "search" in asked
        self.incomplete = _("Choose a course or a run, and enter the learners: the preview shows here.")
        if is_search:
            self.form.is_valid()
        else:
            preview = self.live or "assign" not in asked
            self.result = assign.submit(self.form, budget, preview=preview, actor=user, now=self.now)
            # While a form is filled in, empty fields are not errors.
            entered = asked.get("course") and (asked.get("addresses", "").strip() or request.FILES)
            if entered or not self.live:
                self.incomplete = ""
        self.choice = None if self.result.price_moved else self.form.choice
        self.due_date = self.form.due_date
        self.from_file = bool(request.FILES) and "file" not in self.form.errors
        if is_search or self.incomplete:
            # From the query string only the day is used: it never has a list of people.
            typed: dict[str, str] = self.form.typed if posted else {"due_date": asked.get("due_date", "")}
            self.form = AssignForm(initial=typed, zone=zone, auto_id="%s")
        self.search = SearchForm({"q": asked.get("q", "")}, auto_id="%s")

    def context(self) -> dict[str, Any]:
        """Return the context for the templates."""
        words = self.search.cleaned_data["q"] if self.search.is_valid() else ""
        context: dict[str, Any] = {
            "budget": self.budget,
            "available_cents": ledger.available_cents(self.budget),
            "search": self.search,
            "form": self.form,
            "result": self.result,
            "incomplete": self.incomplete,
            "live": self.live,
            "from_file": self.live and self.from_file,
            "longest_message": LONGEST_MESSAGE,
        }
        if not self.template.endswith("assign_preview.html"):
            context["catalog_choices"] = catalog_choices(
                self.budget, words=words, now=self.now, chosen=self.choice, due_date=self.due_date
            )
        return context
