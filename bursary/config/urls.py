"""All URLs: API, administration, health and metrics, dashboard; and the handlers of errors."""

from django.contrib import admin
from django.urls import include, path, re_path

from bursary.api.csrf import CsrfToken
from bursary.api.not_found import UnknownURL
from bursary.dashboard.views import icon

urlpatterns = [
    path("api/v1/", include("bursary.api.urls")),
    path("api/v2/", include("bursary.api.subsidy_urls")),
    re_path("^api(?:/|$)", UnknownURL.as_view()),
    path("csrf/api/v1/token", CsrfToken.as_view(), name="csrf-token"),  # without a slash, as in clients
    path("admin/", admin.site.urls),
    path("favicon.ico", icon, name="favicon"),
    path("", include("bursary.ops.urls")),
    path("", include("bursary.dashboard.urls")),
]

handler400 = "bursary.config.error_pages.bad_request"
handler403 = "bursary.config.error_pages.permission_denied"
handler404 = "bursary.config.error_pages.not_found"
handler500 = "bursary.config.error_pages.server_error"
