"""What may happen upstream, as rules for the histories that hypothesis invents."""

from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.enterprise_catalog.without_sockets import WithoutSockets
from tests.replica.expected_content import CATALOGS, NAMES, PUBLIC, RESTRICTED, ExpectedContent
from tests.replica.listing import NOW

catalogs = st.sampled_from(sorted(CATALOGS)).map(CATALOGS.__getitem__)
names = st.sampled_from(NAMES[:3])  # the others stand by: of three courses alone too many would be away
runs = st.lists(st.sampled_from(PUBLIC + RESTRICTED), unique=True, max_size=4)
in_the_ordinary_way = {
    "price": st.sampled_from([None, 0.0, 199.0, 249.0]),
    "enroll_by": st.sampled_from([None, -1, 3, 20, 60, 100]),
    "start": st.sampled_from([None, 2, 80]),
    "end": st.sampled_from([None, 10, 200]),
    "runs": runs,
    "advertised": st.sampled_from(PUBLIC + RESTRICTED),
    "active": st.booleans(),
}
ordinary_edits = st.fixed_dictionaries({}, optional=in_the_ordinary_way)
edits = st.fixed_dictionaries(
    {},
    optional=in_the_ordinary_way
    | {
        "title": st.sampled_from(["Tidal Engines", "Tidal Engines II", "Wind"]),
        "thin": st.booleans(),
        "force_included": st.booleans(),
        "poison": st.sampled_from(["", "", "video"]),
    },
)


class UpstreamHistory(RuleBasedStateMachine):
    """Upstream's side: the expected content, and how it is served."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.expected = ExpectedContent()
        self.upstream = WithoutSockets(self.expected.database)

    @rule(name=names, changes=edits, stamped=st.booleans())
    def upstream_edits(self, name: str, changes: dict[str, Any], stamped: bool) -> None:
        self.expected.edit(name, stamped=stamped, **changes)

    @rule()
    def upstream_syncs_and_nothing_changed(self) -> None:
        self.expected.sync()

    @rule(name=names, catalog=catalogs)
    def upstream_takes_a_course_out(self, name: str, catalog: UUID) -> None:
        self.expected.remove(self.expected.courses[name].key, catalog)

    @rule(name=names, catalog=catalogs, source=st.none() | catalogs)
    def upstream_puts_a_course_in(self, name: str, catalog: UUID, source: UUID | None) -> None:
        """It may come from another catalog, and be there no longer."""
        if source and source != catalog:
            self.expected.remove(self.expected.courses[name].key, source)
        self.expected.restore(name, catalog)

    @rule(name=names, run=st.sampled_from(RESTRICTED), catalog=catalogs, allowed=st.booleans())
    def upstream_allows_a_restricted_run(self, name: str, run: str, catalog: UUID, allowed: bool) -> None:
        self.expected.allow(self.expected.courses[name].run_key(run), catalog, allowed=allowed)

    @rule(name=names, run=st.sampled_from(PUBLIC), catalog=catalogs, held=st.booleans())
    def upstream_lists_a_run_by_itself(self, name: str, run: str, catalog: UUID, held: bool) -> None:
        if held:
            self.expected.list_run(name, run, catalog)
        else:
            self.expected.remove(self.expected.courses[name].run_key(run), catalog)

    @rule(name=names, number=st.integers(0, 2))
    def upstream_gives_a_course_another_key(self, name: str, number: int) -> None:
        self.expected.rename_key(name, number)

    @rule(down=st.booleans())
    def upstream_goes_or_comes(self, down: bool) -> None:
        self.upstream.down = down

    @rule(name=names)
    def upstream_fails_on_a_course_or_no_more(self, name: str) -> None:
        course = self.expected.courses[name]
        self.upstream.fails_on ^= {course.key, *map(course.run_key, course.runs)}

    @rule(shows=st.one_of(st.none(), st.integers(0, 7)))
    def upstream_lists_a_part(self, shows: int | None) -> None:
        self.upstream.shows = shows
