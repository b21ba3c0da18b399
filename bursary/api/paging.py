"""The page envelope that clients read, and the one way to ask for a page."""

from typing import Any

from django.core.paginator import InvalidPage, Paginator
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.exceptions import NotFound
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.assignments import listing
from bursary.assignments.models import LearnerContentAssignment


class Pages(PageNumberPagination):
    """`page` from 1, `page_size` up to 500."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 500

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows in the envelope."""
        if self.page is None:
            raise RuntimeError("Ask for a page before its response.")
        return Response(
            {
                "next": self.get_next_link(),
                "previous": self.get_previous_link(),
                "count": self.page.paginator.count,
                "num_pages": self.page.paginator.num_pages,
                "current_page": self.page.number,
                "start": (self.page.number - 1) * self.page.paginator.per_page,
                "results": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the envelope."""
        link = {"type": "string", "format": "uri", "nullable": True}
        number = {"type": "integer"}
        numbers = dict.fromkeys(("count", "num_pages", "current_page", "start"), number)
        properties = {"next": link, "previous": link, **numbers, "results": schema}
        return {"type": "object", "properties": properties, "required": [*numbers, "results"]}


class AssignmentPages(Pages):
    """Pages of assignments, with the counts by learner state that clients filter by."""

    def paginate_queryset(  # type: ignore[override]  # it pages assignments, and only those
        self, queryset: QuerySet[Any], request: Request, view: APIView | None = None
    ) -> list[LearnerContentAssignment]:
        """Return the page's rows. Raises NotFound past the end."""
        size = self.get_page_size(request) or Pages.page_size
        number = self._number(request)
        self.listed = listing.page(queryset, number=number, size=size, now=timezone.now())
        # Counted already, together with the states: the paginator need not ask again.
        paginator = Paginator(self.listed.rows, size)
        paginator.count = self.listed.count
        self.request = request
        try:
            self.page = paginator.page(number)
        except InvalidPage as past_the_end:
            raise NotFound("Invalid page.") from past_the_end
        return self.listed.rows

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows in the envelope, with the counts over the whole filtered set."""
        response = super().get_paginated_response(data)
        counts = self.listed.learner_state_counts
        response.data["learner_state_counts"] = [
            {"learner_state": state.label, "count": count} for state, count in counts
        ]
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the envelope with the counts."""
        described = super().get_paginated_response_schema(schema)
        row = {"learner_state": {"type": "string"}, "count": {"type": "integer"}}
        described["properties"]["learner_state_counts"] = {
            "type": "array",
            "items": {"type": "object", "properties": row},
        }
        return described

    def _number(self, request: Request) -> int:
        asked = request.query_params.get(self.page_query_param, "1")
        if not asked.isdecimal() or len(asked) > 9 or int(asked) < 1:  # nine digits: beyond any list
            raise NotFound("Invalid page.")
        return int(asked)
