"""A statement with SQL that is built once gives what its query set gives, with other values each time."""

import gc
import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from datetime import timedelta
from threading import Thread
from typing import Any, NoReturn
from unittest.mock import Mock
from uuid import uuid4
from weakref import ref

import pytest
from django.db import connection, connections
from django.db.models import F, Q, QuerySet, Value
from django.db.models.signals import pre_init
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import LearnerLink
from bursary.budgets.models import Budget, Customer
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, PreparedSelect, PreparedUpdate, as_expression
from bursary.replica.models import ContentChange, ContentMetadata
from tests.world import NOW, given_budget, given_content, given_customer

pytestmark = pytest.mark.django_db


def links(count: int) -> list[LearnerLink]:
    """Return links of one customer, stored, a second apart."""
    customer = given_customer()
    return [
        LearnerLink.objects.create(
            customer=customer,
            learner_key=f"key-{number}",
            mailbox_key=f"key-{number}" if number % 2 else None,
            learner_email=f"{number}%s@learners.example",
            created=NOW + timedelta(seconds=number),
        )
        for number in range(count)
    ]


def parameter(name: str, model: Any, field: str) -> Parameter:
    return Parameter(name, model._meta.get_field(field))


def test_the_one_row_is_got_or_there_is_none_of_its_model() -> None:
    [link] = links(1)
    prepared = PreparedSelect(lambda: LearnerLink.objects.filter(pk=parameter("pk", LearnerLink, "id")))
    assert prepared.get(pk=link.pk) == link
    with pytest.raises(LearnerLink.DoesNotExist):
        prepared.get(pk=0)


def test_rows_are_those_of_the_query_set_with_any_values(subtests: pytest.Subtests) -> None:
    links(4)

    def asked(keys: Any, since: Any, one: Any) -> QuerySet[LearnerLink, Any]:
        either = Q(learner_key__in=keys) | Q(mailbox_key=one)
        rows = LearnerLink.objects.filter(either, created__gte=since, learner_email__contains="%s@")
        return rows.order_by("pk").values_list("learner_key", "created", F("pk") % 2)

    prepared = PreparedSelect(
        lambda: asked(
            parameter("keys", LearnerLink, "learner_key"),
            parameter("since", LearnerLink, "created"),
            parameter("one", LearnerLink, "mailbox_key"),
        )
    )
    later = NOW + timedelta(seconds=2)
    for keys, since, one in (
        ([], NOW, None),  # NULL: the links without a mailbox key are not found by it
        (["key-0"], NOW, "key-1"),
        (["key-0", "key-2", "key-3"], NOW, "none"),
        ({"key-0", "key-2", "key-3"}, later, "key-3"),
        ((), later, "key-3"),
    ):
        with subtests.test(keys=keys, since=since, one=one):
            expected = list(asked(keys, since, one or "none")) if keys or one is not None else []
            assert prepared.read(keys=keys, since=since, one=one) == expected


def test_values_and_columns_are_converted_as_their_fields_are(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    budget, other = given_budget(), given_budget()
    content = given_content(partners=[{"name": "Riverside"}], price_cents=None)
    of_uuid = PreparedSelect(
        lambda: Budget.objects.select_related("customer").filter(uuid=parameter("uuid", Budget, "uuid"))
    )
    of_key = PreparedSelect(
        lambda: ContentMetadata.objects.only("partners", "price_cents").filter(
            content_key__in=parameter("keys", ContentMetadata, "content_key")
        )
    )
    for one in (budget, other):
        with django_assert_num_queries(1):
            found = of_uuid.first(uuid=one.uuid)
            assert (found, found.uuid, found.customer.uuid) == (one, one.uuid, one.customer.uuid)
    assert of_uuid.first(uuid=uuid4()) is None
    of_uuids = PreparedSelect(
        lambda: Budget.objects.order_by("pk").filter(uuid__in=parameter("uuids", Budget, "uuid"))
    )
    for found in ([budget], [budget, other]):
        assert of_uuids.read(uuids=[one.uuid for one in found]) == found
    with django_assert_num_queries(1):
        found = of_key.first(keys=[content.content_key])
        assert (found.partners, found.price_cents) == ([{"name": "Riverside"}], None)
    with django_assert_num_queries(1):
        assert found.title == content.title  # deferred, as in the query set
    found.price_cents = 7
    with django_assert_num_queries(1):
        found.save(update_fields=["price_cents"])  # a row that is stored
    content.refresh_from_db()
    assert content.price_cents == 7


def test_an_update_writes_each_row_its_value_and_leaves_the_others(
    subtests: pytest.Subtests, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rows = links(5)
    created = parameter("created", LearnerLink, "created")

    @PreparedUpdate
    def prepared() -> tuple[QuerySet[LearnerLink], dict[str, object]]:
        earlier = {"created__lt": created + timedelta(seconds=4) - timedelta(seconds=1)}
        chosen = LearnerLink.objects.filter(pk__in=parameter("pks", LearnerLink, "id"), **earlier)
        return chosen, {
            "learner_email": parameter("emails", LearnerLink, "learner_email"),
            "mailbox_key": "%s",
        }

    first, second, third, fourth, late = (one.pk for one in rows)
    as_they_were = {one.pk: (one.learner_email, one.mailbox_key) for one in rows}
    for pks, emails, written in (
        ([], {}, {}),
        ([first], {}, {first: as_they_were[first][0]}),
        ([first, second], {"a": [first]}, {first: "a", second: as_they_were[second][0]}),
        ([second, third, late], {"b": [second, late], "c": [third, fourth]}, {second: "b", third: "c"}),
        ([third, fourth], "all", {third: "all"}),  # the fourth is not from before the instant
    ):
        with subtests.test(pks=pks, emails=emails):
            LearnerLink.objects.bulk_update(rows, ["learner_email", "mailbox_key"])
            with django_assert_num_queries(1):
                found_rows = prepared.run(pks=pks, emails=emails, created=NOW)
            assert found_rows == len(set(pks) - {fourth, late})  # also where nothing changes
            found = {one.pk: (one.learner_email, one.mailbox_key) for one in LearnerLink.objects.all()}
            assert found == as_they_were | {pk: (email, "%s") for pk, email in written.items()}


def test_a_list_or_mapping_is_one_value_of_a_column_of_json_and_none_is_null(
    subtests: pytest.Subtests,
) -> None:
    change = ContentChange.objects.create(content=given_content(), field="partners", old=0, created=NOW)
    prepared = PreparedUpdate(
        lambda: (
            ContentChange.objects.filter(pk=parameter("pk", ContentChange, "id")),
            {"old": parameter("old", ContentChange, "old")},
        )
    )
    for old in ([], [{"name": "%s"}], {"name": ["Riverside"]}, "Riverside", None):
        with subtests.test(old=old):
            assert prepared.run(pk=change.pk, old=old) == 1
            change.refresh_from_db()
            assert change.old == old
    assert ContentChange.objects.filter(old__isnull=True).exists()
    assert prepared.run(pk=0, old=[]) == 0


def test_rows_are_locked_as_by_the_query_set() -> None:
    links(2)

    def asked(keys: Any) -> QuerySet[LearnerLink]:
        return for_update(LearnerLink.objects.filter(learner_key__in=keys).order_by("pk"))

    prepared = PreparedSelect(lambda: asked(parameter("keys", LearnerLink, "learner_key")))
    with CaptureQueriesContext(connection) as queries:
        assert prepared.read(keys=["key-0"]) == list(asked(["key-0"]))
    locked, expected = (query["sql"] for query in queries)
    assert locked == expected


def test_an_instant_is_a_value_of_sql_and_its_parameter_stays_one() -> None:
    created = parameter("created", LearnerLink, "created")
    assert as_expression(created) is created
    assert as_expression(NOW) == Value(NOW)


def test_a_statement_stands_in_the_place_of_the_function_that_it_decorates_and_keeps_its_docstring() -> None:
    @PreparedSelect
    def asked() -> QuerySet[Customer]:
        """Return the customer with this slug."""
        return Customer.objects.filter(slug=parameter("slug", Customer, "slug"))

    @PreparedUpdate
    def renamed() -> tuple[QuerySet[Customer], dict[str, object]]:
        """Rename this customer."""
        return Customer.objects.filter(pk=parameter("pk", Customer, "id")), {
            "name": parameter("name", Customer, "name")
        }

    customer = given_customer()
    renamed.run(pk=customer.pk, name="Riverside")
    assert asked.get(slug=customer.slug).name == "Riverside"
    assert asked.__doc__ == "Return the customer with this slug."
    assert renamed.__doc__ == "Rename this customer."


def test_the_sql_is_built_once() -> None:
    built: list[None] = []

    def asked() -> QuerySet[Customer]:
        built.append(None)
        return Customer.objects.filter(slug=parameter("slug", Customer, "slug"))

    prepared, customer = PreparedSelect(asked), given_customer()
    assert [prepared.first(slug=one) for one in (customer.slug, "none", customer.slug)] == [
        *(customer, None),
        customer,
    ]
    assert len(built) == 1


class Asked(Exception):
    """A statement has come to a thread's connection, and goes no further."""


def asked_in_a_thread(prepared: PreparedSelect) -> tuple[list[str], "ref[Any]"]:
    """Have another thread read customers; return what it asks, and its connection as long as that is kept."""
    asked: list[str] = []
    connections_of_thread: list[ref[Any]] = []

    def stopped(_execute: Callable[..., Any], sql: str, *_more: Any) -> NoReturn:
        asked.append(sql)
        raise Asked

    def in_thread() -> None:
        connections_of_thread.append(ref(connections[connection.alias]))
        try:
            with connection.execute_wrapper(stopped), pytest.raises(Asked):
                prepared.read(slug="none")
        finally:
            connection.close()

    thread = Thread(target=in_thread)
    thread.start()
    thread.join(timeout=60)
    return asked, connections_of_thread[0]


def test_each_thread_asks_by_its_own_connection() -> None:
    prepared = PreparedSelect(lambda: Customer.objects.filter(slug=parameter("slug", Customer, "slug")))
    assert prepared.read(slug="none") == []
    asked, _connection = asked_in_a_thread(prepared)
    assert len(asked) == 1


def test_a_statement_does_not_keep_the_connection_of_the_thread_that_built_it() -> None:
    prepared = PreparedSelect(lambda: Customer.objects.filter(slug=parameter("slug", Customer, "slug")))
    _asked, of_thread = asked_in_a_thread(prepared)
    gc.collect()
    assert of_thread() is None
    assert prepared.read(slug="none") == []


def test_what_is_made_without_a_constructor_is_as_the_query_set_makes_it(subtests: pytest.Subtests) -> None:
    stored = given_budget()

    def asked(pk: Any) -> QuerySet[Budget]:
        return Budget.objects.select_related("customer").defer("name").filter(pk=pk)

    prepared = PreparedSelect(lambda: asked(Parameter("pk", Budget._meta.pk)))
    constructed = Mock()
    pre_init.connect(constructed)
    try:
        found, again = prepared.first(pk=stored.pk), prepared.first(pk=stored.pk)
    finally:
        pre_init.disconnect(constructed)
    constructed.assert_not_called()
    expected = asked(stored.pk)[0]
    assert found.get_deferred_fields() == expected.get_deferred_fields() == {"name"}
    assert {**vars(found), "_state": None} == {**vars(expected), "_state": None}
    assert (found._state.db, found._state.adding) == (expected._state.db, expected._state.adding)
    assert found._state.fields_cache is not again._state.fields_cache
    for number, copied in enumerate((copy(found), deepcopy(found), pickle.loads(pickle.dumps(found)))):
        with subtests.test(number=number):
            copied.name = f"name {number}"
            copied.save()  # all that was read or set, as an update
            stored.refresh_from_db()
            assert (stored.name, copied.customer) == (f"name {number}", stored.customer)
    found.customer = given_customer()
    found.save()
    stored.refresh_from_db()
    again.refresh_from_db(fields=["customer"])  # forgets the one that was read with it
    assert again.customer == stored.customer == found.customer


@pytest.mark.parametrize("own", ["__init__", "from_db"])
def test_a_model_with_a_constructor_of_its_own_keeps_it(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    customer, usual, made = given_customer(), getattr(Customer, own), []

    def noted(*args: Any, **more: Any) -> Any:
        made.append(own)
        return usual(*args, **more)

    from_db = classmethod(lambda _model, *args: noted(*args))
    monkeypatch.setattr(Customer, own, noted if own == "__init__" else from_db)
    prepared = PreparedSelect(lambda: Customer.objects.filter(slug=parameter("slug", Customer, "slug")))
    assert prepared.first(slug=customer.slug) == customer
    assert made == [own]


def test_as_many_values_as_a_request_may_name_are_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    customer = given_customer()
    prepared = PreparedSelect(lambda: Customer.objects.filter(slug__in=parameter("slugs", Customer, "slug")))
    for slugs in (
        [customer.slug, *map(str, range(40_000))],
        [None, customer.slug],
        ["%s", customer.slug] * 2,
    ):
        with django_assert_num_queries(1):
            assert prepared.read(slugs=slugs) == [customer]
