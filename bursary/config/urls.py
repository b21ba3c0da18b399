"""All URLs: API, administration, health and metrics, dashboard."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("bursary.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("bursary.ops.urls")),
    path("", include("bursary.dashboard.urls")),
]
