"""The URLs below `/api/v2/`, spelt as in enterprise-subsidy."""

from django.urls import path

from bursary.api import subsidies

urlpatterns = [
    path(
        "subsidies/<uuid:subsidy_uuid>/admin/transactions/",
        subsidies.Transactions.as_view(),
        name="transactions",
    ),
]
