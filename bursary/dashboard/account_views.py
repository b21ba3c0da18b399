"""A user's account: password and API keys, and the reset of a forgotten password."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from bursary.access import sign_in_limits
from bursary.access.models import ApiKey, User
from bursary.access.permissions import Permission, may_anywhere
from bursary.access.zones import zone_of
from bursary.dashboard.account_forms import (
    MAX_KEYS,
    ChangePasswordForm,
    ForgottenPasswordForm,
    NewKeyForm,
    NewPasswordForm,
)
from bursary.dashboard.headers import page
from bursary.lib.locks import for_update

MAX_ADDRESSES = 20  # shown on the account's page


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Show the user's account and API keys. POST makes a key, which is shown only in this response.

    Responds with 404 to a POST if the user may not have keys.
    """
    user = request.user
    assert isinstance(user, User)  # noqa: S101  # login_required sees to it
    may_have_keys = may_anywhere(user, Permission.MAKE_KEYS)
    if request.method == "POST" and not may_have_keys:
        raise Http404("There is no key to make.")
    form = NewKeyForm(*([request.POST] if request.method == "POST" else []), user=user)
    new_key = ""
    with transaction.atomic():
        if form.is_bound:  # the lock makes concurrent requests count the keys one after another
            for_update(User.objects.filter(pk=user.pk)).get()
        if form.is_bound and form.is_valid():
            _row, new_key = ApiKey.issue(user, **form.terms(now=timezone.now()))
            form = NewKeyForm(user=user)
    context = {
        "other_addresses": user.other_addresses.order_by("pk")[:MAX_ADDRESSES],
        "keys": _working(user).order_by("name", "pk")[:MAX_KEYS],
        "new_key": new_key,
        "form": form,
        "may_have_keys": may_have_keys,
        "zone": zone_of(user),
    }
    return render(request, "dashboard/account.html", context, status=422 if form.errors else 200)


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask whether to revoke one of the user's own keys; POST does it. Keys of others are a 404."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101  # login_required sees to it
    key = ApiKey.objects.filter(user=user, pk=pk).first()
    if key is None:
        raise Http404("There is no such key.")
    if request.method != "POST":
        return render(request, "dashboard/revoke_key.html", {"key": key})
    if _working(user).filter(pk=pk).update(revoked_at=timezone.now()):
        messages.success(request, _("Revoked: the key “%(name)s” no longer works.") % {"name": key.name})
    return redirect("account")


@method_decorator(page, name="dispatch")
class ChangePassword(auth_views.PasswordChangeView):
    """Change the password; the form asks for the present one. The user's other sessions end."""

    template_name = "dashboard/change-password.html"
    form_class = ChangePasswordForm
    success_url = reverse_lazy("account")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Return the form's arguments with the request, by which wrong passwords are counted."""
        return super().get_form_kwargs() | {"request": self.request}

    def form_valid(self, form: object) -> HttpResponse:
        """Show the success on the account's page."""
        messages.success(self.request, _("Your password is changed. You are signed out everywhere else."))
        return super().form_valid(form)  # type: ignore[arg-type]  # Django's form


@method_decorator(page, name="dispatch")
class ForgottenPassword(auth_views.PasswordResetView):
    """Ask for a link to set a new password."""

    template_name = "dashboard/forgotten-password.html"
    form_class = ForgottenPasswordForm
    success_url = reverse_lazy("password-link-sent")


@method_decorator(page, name="dispatch")
class LinkSent(auth_views.PasswordResetDoneView):
    """Show what happens next, which is the same for every address."""

    template_name = "dashboard/password-link-sent.html"


@method_decorator(page, name="dispatch")
class NewPassword(auth_views.PasswordResetConfirmView):
    """Set a new password by the link in a mail, which works once; or show why the link does not work."""

    template_name = "dashboard/new-password.html"
    form_class = NewPasswordForm
    success_url = reverse_lazy("sign-in")

    def form_valid(self, form: object) -> HttpResponse:
        """Show the success on the sign-in page, and end the user's lock there."""
        assert isinstance(self.user, User)  # noqa: S101  # the link's
        sign_in_limits.unlock(self.user.get_username(), request=self.request)
        messages.success(self.request, _("Your password is changed. Sign in with it."))
        return super().form_valid(form)  # type: ignore[arg-type]  # Django's form


def _working(user: User) -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(user=user, revoked_at=None)
