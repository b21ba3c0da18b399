"""Pages of lists: parameters and envelope."""

from typing import Any, cast

from django.core.paginator import InvalidPage, Paginator
from django.db.models import OrderBy, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from bursary.assignments import listing, shown_assignments
from bursary.assignments.cursors import CursorPage, cursor_page
from bursary.assignments.shown_assignments import ShownAssignment


class Pages(PageNumberPagination):
    """`page` from 1, `page_size` up to 500, and 100 by default."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 500

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
        link = {"type": "string", "format": "uri", "nullable": True}
        number = {"type": "integer"}
        numbers = dict.fromkeys(("count", "num_pages", "current_page", "start"), number)
        properties = {"next": link, "previous": link, **numbers, "results": schema}
        return {"type": "object", "properties": properties, "required": [*numbers, "results"]}


class AssignmentPages(Pages):
    """Pages of assignments, with counts by learner state over the whole filtered list.

    By `cursor`, which is empty for the first page, without counts, and as fast at any depth.
    """

    cursor_query_param = "cursor"
    neighbours: CursorPage | None = None

    def paginate_queryset(  # type: ignore[override]  # it pages assignments alone
        self, queryset: QuerySet[Any], request: Request, view: APIView | None = None
    ) -> list[ShownAssignment]:
        """Return the page's rows. Raises NotFound beyond the last page, and ValidationError for a cursor."""
        size = self.get_page_size(request) or Pages.page_size
        self.request = request
        if self.cursor_query_param in request.query_params:
            return self._by_cursor(queryset, request.query_params[self.cursor_query_param], size=size)
        asked = request.query_params.get(self.page_query_param, "1")
        if not asked.isdecimal() or len(asked) > 9 or int(asked) < 1:  # nine digits: beyond any list
            raise NotFound("Invalid page.")
        number = int(asked)
        self.listed = listing.page(queryset, number=number, size=size, now=timezone.now())
        # Counted already with the states; the paginator would count again.
        paginator = Paginator(self.listed.rows, size)
        paginator.count = self.listed.count
        try:
            self.page = paginator.page(number)
        except InvalidPage as error:
            raise NotFound("Invalid page.") from error
        return self.listed.rows

    def _by_cursor(self, queryset: QuerySet[Any], cursor: str, *, size: int) -> list[ShownAssignment]:
        term, *others = cast("tuple[OrderBy, ...]", queryset.query.order_by)  # of `StableOrdering`
        column: str = cast("Any", term.expression).name
        if len(others) != 1 or "__" in column:
            sentence = _("Pages by cursor need one ordering, and none by the content's own columns.")
            raise ValidationError({"ordering": [sentence]})
        found = cursor_page(queryset, column=column, descending=term.descending, size=size, cursor=cursor)
        if not found.understood:
            raise ValidationError({"cursor": [_("This is no cursor of this list.")]})
        self.neighbours = found
        return shown_assignments.load_all(found.pks, now=timezone.now())

    def _link(self, cursor: str) -> str | None:
        if self.request is None:
            raise RuntimeError("Call paginate_queryset() first.")
        url = replace_query_param(self.request.build_absolute_uri(), self.cursor_query_param, cursor)
        return url if cursor else None

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe the parameters."""
        described = "Pages without counts, by the cursor in `next` or `previous`; empty for the first one"
        cursor = {"name": self.cursor_query_param, "in": "query", "required": False, "description": described}
        return [*super().get_schema_operation_parameters(view), {**cursor, "schema": {"type": "string"}}]

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows in the envelope, with the counts; by cursor without them."""
        if found := self.neighbours:
            return Response(
                {"next": self._link(found.later), "previous": self._link(found.earlier), "results": data}
            )
        response = super().get_paginated_response(data)
        counts = self.listed.learner_state_counts
        response.data["learner_state_counts"] = [
            {"learner_state": state.label, "count": count} for state, count in counts
        ]
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the envelope with the counts."""
        described = super().get_paginated_response_schema(schema)
        described["required"] = ["results"]
        row = {"learner_state": {"type": "string"}, "count": {"type": "integer"}}
        described["properties"]["learner_state_counts"] = {
            "type": "array",
            "items": {"type": "object", "properties": row},
        }
        return described
