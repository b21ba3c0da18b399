"""Pages of lists: parameters and envelope."""

from typing import Any, ClassVar, cast

from django.core.paginator import InvalidPage, Paginator
from django.db.models import OrderBy, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from bursary.api.inputs import validated
from bursary.api.refusals import PageBesideCursor
from bursary.assignments import listing, searches, shown_assignments
from bursary.assignments.choices import LearnerState
from bursary.assignments.cursors import CursorPage, cursor_page
from bursary.assignments.shown_assignments import ShownAssignment

DEFAULT_SIZE, LARGEST_SIZE = 100, 500  # rows of a page


class PageInput(serializers.Serializer[Any]):
    """The parameters of pages."""

    page = serializers.IntegerField(
        default=1, min_value=1, max_value=10**9, help_text="The number of the page, from 1"
    )
    page_size = serializers.IntegerField(default=DEFAULT_SIZE, min_value=1, max_value=LARGEST_SIZE)


class CursorInput(PageInput):
    """The parameters of pages of assignments."""

    cursor = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="The cursor of a page without counts, from `next` or `previous`; empty for the first page",
    )


class PageOutput(serializers.Serializer[Any]):
    """The envelope of a page, without its `results`. A page by cursor has no counts."""

    next = serializers.URLField(allow_null=True, help_text="The URL of the next page; null on the last one")
    previous = serializers.URLField(
        allow_null=True, help_text="The URL of the page before; null on the first one"
    )
    count = serializers.IntegerField(
        required=False, help_text="The number of rows of all pages together; absent from pages by cursor"
    )
    num_pages = serializers.IntegerField(required=False)
    current_page = serializers.IntegerField(required=False)
    start = serializers.IntegerField(required=False, help_text="The position of the page's first row, from 0")


class LearnerStateCountOutput(serializers.Serializer[Any]):
    """The number of assignments with one learner state, the state that administrators see."""

    learner_state = serializers.ChoiceField(choices=[one.label for one in LearnerState if one.label])
    count = serializers.IntegerField()


class Pages(PageNumberPagination):
    """Pages by `PageInput`. A page after the last one is a 404."""

    query: ClassVar[type[PageInput]] = PageInput
    page_size = DEFAULT_SIZE
    page_size_query_param = "page_size"
    last_page_strings = ()

    def get_page_size(self, request: Request) -> int:
        """Return the requested size. Raises ValidationError."""
        return self._asked(request)["page_size"]

    def get_page_number(self, request: Request, paginator: Any) -> int:
        """Return the requested number. Raises ValidationError."""
        return self._asked(request)["page"]

    def _asked(self, request: Request) -> dict[str, int]:
        given = {
            name: value for name, value in request.query_params.items() if value
        }  # an empty parameter is ignored
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


COUNT_IS_ESTIMATED = {
    "type": "boolean",
    "description": "Sent, as true, where a search finds more than 1,000: `count`, `num_pages` and "
    "`learner_state_counts` are estimates then; `next` is exact",
}


class AssignmentPages(Pages):
    """Pages of assignments, with counts by learner state over the whole filtered list.

    Pages by `cursor`, which is empty for the first page, have no counts, and are fast at any depth.
    """

    query = CursorInput
    cursor_query_param = "cursor"
    neighbours: CursorPage | None = None
    is_search = False
    """Whether the list is a text search, for which large counts are estimated."""

    def paginate_queryset(  # type: ignore[override]  # it pages only assignments
        self, queryset: QuerySet[Any], request: Request, view: APIView | None = None
    ) -> list[ShownAssignment]:
        """Return the page's rows.

        Raises NotFound after the last page, PageBesideCursor, and ValidationError for a wrong cursor.
        """
        asked = self._asked(request)
        number, size = asked["page"], asked["page_size"]
        self.request = request
        if self.cursor_query_param in request.query_params:
            if request.query_params.get("page"):
                raise PageBesideCursor
            return self._by_cursor(queryset, request.query_params[self.cursor_query_param], size=size)
        self.listed = listing.page(
            queryset, number=number, size=size, now=timezone.now(), is_search=self.is_search
        )
        # The counts by state add up to it; the paginator would count again.
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
        queryset = searches.find(queryset).rows if self.is_search else queryset
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

    def get_paginated_response(self, data: Any) -> Response:
        """Return the rows in the envelope, with the counts unless the page is by cursor."""
        if found := self.neighbours:
            return Response(
                {"next": self._link(found.later), "previous": self._link(found.earlier), "results": data}
            )
        response = super().get_paginated_response(data)
        counts = self.listed.learner_state_counts
        response.data["learner_state_counts"] = [
            {"learner_state": state.label, "count": count} for state, count in counts
        ]
        if self.listed.are_estimated:
            response.data["count_is_estimated"] = True
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
            "count_is_estimated": COUNT_IS_ESTIMATED,
            "understood": UNDERSTOOD,
        }
        described["required"] = ["next", "previous", "results"]  # pages by cursor have no counts
        return described
