"""An administrator's lists: assignments, bulk work on selected ones, and budgets."""

from http import HTTPStatus
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from bursary.access.models import User
from bursary.access.permissions import Permission, may_anywhere
from bursary.assignments import csv_export
from bursary.dashboard import (
    assignment_filters,
    assignment_list,
    budget_pages,
    bulk_results,
    bulk_steps,
    bulk_work,
)
from bursary.dashboard import totals as totals_of
from bursary.dashboard.bulk_steps import BulkSteps
from bursary.dashboard.headers import page
from bursary.dashboard.late_parts import page_with_late_part
from bursary.dashboard.learner_views import SeeOther


@page
@require_safe
@login_required
def assignments(request: HttpRequest) -> HttpResponse:
    """List the assignments of the user's budgets, filtered and sorted by the query string."""
    shorter = assignment_list.without_empty(request.GET)
    if shorter is not None:  # without JavaScript, a form also sends its empty fields
        return redirect(f"{request.path}?{shorter}" if shorter else request.path)
    listed = assignment_list.load(_user(request), request.GET, now=timezone.now())
    context = {"page": listed, "verbs": bulk_work.VERBS.values()}
    return render(request, "dashboard/assignment_list.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Export all assignments that match the query string as CSV; by POST, the selected ones. It is logged.

    For an invalid query string, the response is the list with the reason and status 400.
    """
    if not request.user.is_authenticated:
        is_form = request.method == "POST"
        return redirect_to_login(_list_of(request) if is_form else request.get_full_path())
    user, now = _user(request), timezone.now()
    query = QueryDict(request.POST["query"]) if "query" in request.POST else request.GET
    chosen = assignment_filters.selection(user, query, now=now)
    rows, filters = chosen.rows, assignment_list.query_with(query)
    if request.method == "POST" and not request.POST.get("everything"):
        uuids = bulk_steps.uuids_of(request.POST)
        if not uuids:
            return _nothing_selected(request, _list_of(request))
        permitted = assignment_filters.of_budgets_of(user, (), permission=Permission.READ_ASSIGNMENTS)
        rows, filters = permitted.filter(uuid__in=uuids), "selected by hand"
    elif chosen.problems:
        listed = assignment_list.load(user, query, now=now)
        context = {"page": listed, "verbs": bulk_work.VERBS.values()}
        return render(request, "dashboard/assignment_list.html", context, status=HTTPStatus.BAD_REQUEST)
    file = csv_export.export(rows, user=user, filters=filters, zone=chosen.zone, now=now)
    headers = {"Content-Disposition": f'attachment; filename="{file.file_name}"'}
    return StreamingHttpResponse(file.lines, content_type=file.content_type, headers=headers)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def selected(request: HttpRequest) -> HttpResponse:
    """Ask whether to do bulk work on the selected assignments; once it is confirmed, do it.

    Question and result have URLs of their own. With a filter, one batch is done, and the result has a form
    for the next one. If the number has changed since it was confirmed, nothing is done and the question is
    shown again, with status 409. A GET leads to the list.
    """
    if not request.user.is_authenticated:
        return redirect_to_login(_list_of(request))
    if request.method != "POST":
        return redirect("assignment-list")
    work, token = _work(request, request.POST), request.POST.get("kept", "")
    if work.is_confirmed:
        batch = work.do_batch()
        token = bulk_results.keep_result(request.session, token, work, batch)
        if request.headers.get("HX-Request"):
            context = {"work": work, "remarks": batch.remarks, "kept": token, "part": True}
            return render(request, "dashboard/parts/bulk_step.html", context)
        return SeeOther(reverse("bulk-result", args=[token]))
    if not (work.everything or work.uuids):
        return _nothing_selected(request, work.back)
    if not work.count:
        messages.info(request, _("Nothing that is selected can be changed by this: nothing was done."))
        return SeeOther(work.back)
    if work.confirmed is None:
        token = bulk_results.keep_question(request.session, work)
        return SeeOther(reverse("bulk-question", args=[token]))
    changed = work.confirmed != work.count
    context = {"work": work, "changed": changed, "kept": token}
    status = HTTPStatus.CONFLICT if changed else HTTPStatus.OK
    status = HTTPStatus.UNPROCESSABLE_ENTITY if work.problem else status
    return render(request, "dashboard/bulk_confirm.html", context, status=status)


@page
@require_safe
@login_required
def bulk_question(request: HttpRequest, token: str) -> HttpResponse:
    """Show the question about bulk work. Once it is answered, redirect to the list."""
    asked, is_answered = bulk_results.question(request.session, token)
    if asked is None:
        return redirect("assignment-list")
    work = _work(request, asked)
    if is_answered or not work.count:
        return redirect(work.back)
    return render(request, "dashboard/bulk_confirm.html", {"work": work, "kept": token})


@page
@require_safe
@login_required
def bulk_result(request: HttpRequest, token: str) -> HttpResponse:
    """Show the result of bulk work; between batches, its progress, with the form for the next batch."""
    found = bulk_results.result(request.session, token, user=_user(request), now=timezone.now())
    if found is None:
        return redirect("assignment-list")
    context = {"work": found.work, "remarks": found.remarks, "unnamed": found.unnamed, "kept": token}
    return render(request, "dashboard/bulk_result.html", context)


@page
@require_safe
@login_required
def totals(request: HttpRequest) -> HttpResponse:
    """Show the page with the list's totals, which loads its `sums` afterwards."""
    chosen = assignment_filters.selection(_user(request), request.GET, now=timezone.now())
    context = {"selection": chosen, "query": assignment_list.query_with(request.GET)}
    return render(request, "dashboard/totals.html", context)


@page
@require_safe
@login_required
def sums(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Show the sums by budget and by month, which read each row: as a page, or as a part of `totals`."""
    now = timezone.now()
    chosen = assignment_filters.selection(_user(request), request.GET, now=now)
    context = {"selection": chosen, "query": assignment_list.query_with(request.GET)}
    return page_with_late_part(
        request,
        "dashboard/totals.html",
        context,
        part="dashboard/parts/sums.html",
        load=lambda: {"totals": totals_of.load(chosen, request.GET, now=now)},
    )


@page
@require_safe
@login_required
def budgets(request: HttpRequest) -> HttpResponse:
    """List the budgets that the user administers, in pages."""
    user, number = _user(request), request.GET.get("page", "1")
    if not may_anywhere(user, Permission.READ_BUDGET):
        raise Http404("There are no budgets to administer.")
    found = budget_pages.budget_list(user, number=number, now=timezone.now())
    return render(request, "dashboard/budgets.html", {"budgets": found})


@page
@require_safe
@login_required
def budget(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show one of the user's budgets: its money, and when reserved money becomes free."""
    found = budget_pages.load(_user(request), uuid, now=timezone.now())
    if found is None:
        raise Http404("There is no such budget.")
    return render(request, "dashboard/budget.html", {"page": found})


@page
@require_safe
@login_required
def spendings(request: HttpRequest, uuid: UUID) -> HttpResponse | StreamingHttpResponse:
    """Show the spendings of one of the user's budgets: as a page, or as a part of the budget's page."""
    found = budget_pages.visible_budget(_user(request), uuid)
    if found is None:
        raise Http404("There is no such budget.")
    return page_with_late_part(
        request,
        "dashboard/spent.html",
        {"budget": found},
        part="dashboard/parts/spent.html",
        load=lambda: {"page": budget_pages.spendings(found)},
    )


def _nothing_selected(request: HttpRequest, back: str) -> HttpResponse:
    messages.warning(request, _("Select some assignments first, or all that the filter finds."))
    return SeeOther(back)


def _list_of(request: HttpRequest) -> str:
    """Return the URL of the list that a form was sent from."""
    return bulk_steps.list_address(request.POST.get("query", ""), cursor=request.POST.get("cursor", ""))


def _work(request: HttpRequest, fields: QueryDict) -> BulkSteps:
    """Return the bulk work that a form requests. Raises Http404."""
    verb = bulk_work.VERBS.get(fields.get("verb", ""))
    if verb is None:
        raise Http404("There is no such action.")
    return BulkSteps(fields, verb, user=_user(request), now=timezone.now())


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    return request.user
