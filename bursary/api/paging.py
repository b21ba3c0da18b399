"""Pages of lists: parameters and envelope."""

from typing import Any

from django.core.paginator import InvalidPage, Paginator
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.api.inputs import validated
from bursary.assignments import listing
from bursary.assignments.choices import LearnerState
from bursary.assignments.models import LearnerContentAssignment

DEFAULT_SIZE, LARGEST_SIZE = 100, 500  # rows of a page


class PageInput(serializers.Serializer[Any]):
    """The parameters of pages."""

    page = serializers.IntegerField(default=1, min_value=1, max_value=10**9, help_text="From 1")
    page_size = serializers.IntegerField(default=DEFAULT_SIZE, min_value=1, max_value=LARGEST_SIZE)


class PageOutput(serializers.Serializer[Any]):
    """The envelope of a page, without its `results`."""

    next = serializers.URLField(allow_null=True, help_text="The address of the next page")
    previous = serializers.URLField(allow_null=True, help_text="The address of the page before")
    count = serializers.IntegerField(help_text="Of all pages together")
    num_pages = serializers.IntegerField()
    current_page = serializers.IntegerField()
    start = serializers.IntegerField(help_text="The position of the page's first row, from 0")


class LearnerStateCountOutput(serializers.Serializer[Any]):
    """The number of assignments that administrators see in a state."""

    learner_state = serializers.ChoiceField(choices=[one.label for one in LearnerState if one.label])
    count = serializers.IntegerField()


class Pages(PageNumberPagination):
    """Pages by `PageInput`. A page beyond the last is not found."""

    page_size = DEFAULT_SIZE
    page_size_query_param = "page_size"
    last_page_strings = ()

    def get_page_size(self, request: Request) -> int:
        """Return the size that was asked for. Raises ValidationError."""
        return self._asked(request)["page_size"]

    def get_page_number(self, request: Request, paginator: Any) -> int:
        """Return the number that was asked for. Raises ValidationError."""
        return self._asked(request)["page"]

    def _asked(self, request: Request) -> dict[str, int]:
        given = {
            name: value for name, value in request.query_params.items() if value
        }  # empty: as if left out
        return validated(PageInput, given)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows in the envelope."""
        if self.page is None:
            raise RuntimeError("Call paginate_queryset() first.")
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
        link = {"type": ["string", "null"], "format": "uri"}
        number = {"type": "integer"}
        numbers = dict.fromkeys(("count", "num_pages", "current_page", "start"), number)
        properties = {"next": link, "previous": link, **numbers, "results": schema}
        return {"type": "object", "properties": properties, "required": [*properties]}


UNDERSTOOD = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Where dates were sent: the instants that they mean; of a day, `from/to`",
}


class AssignmentPages(Pages):
    """Pages of assignments, with counts by learner state over the whole filtered list."""

    def paginate_queryset(  # type: ignore[override]  # it pages assignments alone
        self, queryset: QuerySet[Any], request: Request, view: APIView | None = None
    ) -> list[LearnerContentAssignment]:
        """Return the page's rows. Raises NotFound beyond the last page."""
        asked = self._asked(request)
        number, size = asked["page"], asked["page_size"]
        self.listed = listing.page(queryset, number=number, size=size, now=timezone.now())
        # Counted already with the states; the paginator would count again.
        paginator = Paginator(self.listed.rows, size)
        paginator.count = self.listed.count
        self.request = request
        try:
            self.page = paginator.page(number)
        except InvalidPage as error:
            raise NotFound("Invalid page.") from error
        return self.listed.rows

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows in the envelope, with the counts."""
        response = super().get_paginated_response(data)
        counts = self.listed.learner_state_counts
        response.data["learner_state_counts"] = [
            {"learner_state": state.label, "count": count} for state, count in counts
        ]
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the envelope with the counts."""
        described = super().get_paginated_response_schema(schema)
        row = {
            "learner_state": {"type": "string", "enum": [one.label for one in LearnerState if one.label]},
            "count": {"type": "integer"},
        }
        described["properties"] |= {
            "learner_state_counts": {
                "type": "array",
                "items": {"type": "object", "properties": row, "required": [*row]},
            },
            "understood": UNDERSTOOD,
        }
        described["required"].append("learner_state_counts")
        return described
