"""The page to unsubscribe from reminders, by the link in one of them. GET shows, POST acts."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from bursary.access.links import LinkExpired, LinkRefused, LinkRevoked
from bursary.assignments import unsubscribing
from bursary.dashboard.headers import page
from bursary.dashboard.learner_views import SeeOther, link_refused

ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""The form field that a mail reader's unsubscribe button sends, by RFC 8058."""

_IF_BROKEN = _(
    "Open the mail again and press “No more reminders” at its end, or copy the whole address of that link. "
    "The link in any newer reminder works as well. If none does, ask where the mail says to write with "
    "questions."
)
_IF_OVER = _("Press “No more reminders” at the end of a newer reminder.")


@page
@csrf_exempt  # the link is the credential; a mail reader's button sends no cookie
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Show whether the learner gets reminders. POST changes it, also by a mail reader's button.

    GET changes nothing: virus scanners of mailboxes follow links.
    """
    now = timezone.now()
    try:
        mail = unsubscribing.opened(token, now=now)
    except LinkRefused as refused:
        next_step = _IF_OVER if isinstance(refused, LinkExpired | LinkRevoked) else _IF_BROKEN
        customer = unsubscribing.customer_of(token)
        response = link_refused(request, refused, customer=customer, next_step=next_step)
    else:
        one_click = request.POST.get(ONE_CLICK[0]) == ONE_CLICK[1]
        if one_click or request.POST.get("reminders") == "off":
            unsubscribing.unsubscribe(mail, now=now)
        elif request.POST.get("reminders") == "on":
            unsubscribing.subscribe(mail)
            messages.success(request, _("You get reminders again."))
        if request.method == "POST" and not one_click:
            response = SeeOther(request.path)
        else:
            context = {"mail": mail, "unsubscribed": unsubscribing.is_unsubscribed(mail)}
            response = render(request, "dashboard/unsubscribe.html", context)
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
