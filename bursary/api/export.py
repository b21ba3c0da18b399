"""The CSV export of a budget's assignments, as filtered."""

from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from bursary.api import bulk
from bursary.api.assignments import OF_FILTERS, FilteredBudgetView
from bursary.api.authentication import caller
from bursary.assignments import csv_export


class Export(FilteredBudgetView):
    """Export all assignments that the query string's filters find as CSV, oldest first. It is logged."""

    reasons = OF_FILTERS | {406: ()}

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, **_url: UUID) -> StreamingHttpResponse:
        file = csv_export.export(
            bulk.filtered(self),
            user=caller(request),
            filters=request.query_params.urlencode(),
            zone=self.budget.customer.zone,
            now=timezone.now(),
        )
        disposition = f'attachment; filename="{file.file_name}"'
        headers = {"Content-Disposition": disposition}
        return StreamingHttpResponse(file.lines, content_type=file.content_type, headers=headers)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Accept requests for `text/csv`, which no renderer makes; refusals are JSON."""
        return super().perform_content_negotiation(request, force=True)
