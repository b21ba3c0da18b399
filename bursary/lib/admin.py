"""Django admin pages: in the time zone of a record's organisation, and of records with their own writers."""

from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from bursary.lib.moments import UTC_ZONE


class Site(admin.AdminSite):
    """The Django admin. A number in an address or a form that no column holds is not found.

    Django leaves out comparisons with numbers beyond 64 bits, but not those of foreign keys and lists, for
    which SQLite's driver raises OverflowError.
    """

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Return the view; its page is rendered here, because that asks the database, too."""

        @wraps(view)
        def found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                response: HttpResponse = view(request, *args, **kwargs)
                return response.render() if isinstance(response, TemplateResponse) else response
            except OverflowError as error:
                raise Http404("No record has so large a number.") from error

        return super().admin_view(found, cacheable)


class SiteConfig(AdminConfig):
    """Django's app `admin` with this site."""

    default_site = "bursary.lib.admin.Site"


class ZonedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    """Shows a record in the time zone of its organisation; lists, and records of no organisation, in UTC.

    Every instant is shown with its zone: see `config/formats`.
    """

    organisation_path = ""
    """The dotted path from the record to its organisation; `self` for the record; empty for none."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page in the zone; rendered here, because the zone ends here."""
        record = (
            self.get_object(request, unquote(object_id)) if object_id and self.organisation_path else None
        )
        for name in self.organisation_path.split(".") if record and self.organisation_path != "self" else ():
            record = getattr(record, name)
        with timezone.override(record.zone if record else UTC_ZONE):
            response = super().changeform_view(request, object_id, form_url, extra_context)
            return response.render() if isinstance(response, TemplateResponse) else response


class ReadOnlyAdmin(ZonedAdmin):
    """Shows records and changes none: each table has one writer, which is not the admin."""

    show_full_result_count = False
    deferred: tuple[str, ...] = ()
    """Columns that lists do not read."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*self.deferred)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
