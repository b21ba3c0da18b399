"""Every model and every member of an enum is in the glossary, and the glossary names no other."""

import ast
import re
from collections.abc import Iterator, Mapping

import pytest
from django.apps import apps

from bursary.access.links import Purpose
from bursary.access.models import KeyScope, Role, SuppressionReason
from bursary.access.permissions import Permission
from bursary.assignments.choices import (
    FACTS,
    ActionType,
    ErrorReason,
    ExpiryReason,
    LearnerState,
    NoticeReason,
    State,
    Status,
)
from bursary.assignments.extension import ExtensionRefusal, Span
from bursary.assignments.failures import RepairRefusal
from bursary.assignments.impact import Effect
from bursary.assignments.learner_accounts import AccountEnded
from bursary.assignments.matching import Verdict
from bursary.assignments.preview_warnings import WarningCode
from bursary.budgets.models import LedgerEntryState, NotInUse
from bursary.dashboard.learner_answers import InvitationState
from bursary.events.models import EventKind, EventOutcome, EventSource
from bursary.lib.breaker import BreakerState
from bursary.replica import merge
from bursary.replica.audit import Finding
from bursary.replica.explain import RefreshReason
from bursary.replica.joining import JoiningRefusal
from bursary.replica.models import ColdReadStatus, Completeness, ContentType, ReadMode, RefreshTrigger
from bursary.upstream.errors import Outage
from tests.architecture.source import definitions, modules
from tests.docs.pages import first_column, headings, page, rows, section, spans

GLOSSARY = page("docs/glossary.md")

MEMBERS: Mapping[str, set[str]] = {
    "State": set(State.values),
    "AccountEnded": set(AccountEnded.values),
    "LearnerState": {str(state.label) for state in LearnerState if state.label},
    "ActionType": set(ActionType.values),
    "Status": set(Status.values),
    "ErrorReason": set(ErrorReason.values),
    "ExpiryReason": set(ExpiryReason.values),
    "NoticeReason": set(NoticeReason.values),
    "SuppressionReason": set(SuppressionReason.values),
    "NotInUse": set(NotInUse.values),
    "Role": set(Role.values),
    "KeyScope": set(KeyScope.values),
    "Permission": set(Permission),
    "Purpose": set(Purpose),
    "JoiningRefusal": set(JoiningRefusal),
    "ExtensionRefusal": set(ExtensionRefusal),
    "Span": set(Span),
    "RepairRefusal": set(RepairRefusal),
    "InvitationState": set(InvitationState),
    "Verdict": {verdict.value for verdict in Verdict},
    "WarningCode": {code.value for code in WarningCode},
    "MergeDecision": {decision.name.lower() for decision in merge.MergeDecision},
    "Completeness": {one.value for one in Completeness},
    "ContentType": {one.value for one in ContentType},
    "RefreshTrigger": set(RefreshTrigger.values),
    "RefreshReason": {why.value for why in RefreshReason},
    "Finding": {finding.value for finding in Finding},
    "Effect": {effect.value for effect in Effect},
    "ReadMode": set(ReadMode.values),
    "ColdReadStatus": set(ColdReadStatus.values),
    "LedgerEntryState": set(LedgerEntryState.values),
    "EventSource": set(EventSource.values),
    "EventKind": set(EventKind.values),
    "EventOutcome": set(EventOutcome.values),
    "BreakerState": {state.value for state in BreakerState},
    "Outage": {outage.value for outage in Outage},
}


@pytest.mark.parametrize("enum", MEMBERS)
def test_the_table_has_each_member_once_and_nothing_else(enum: str) -> None:
    assert sorted(first_column(GLOSSARY, enum)) == sorted(MEMBERS[enum])


def enums() -> Iterator[str]:
    """Yield the name of each enum of the package."""
    for module in modules():
        for node in definitions(module):
            if isinstance(node, ast.ClassDef):
                bases = (ast.unparse(base) for base in node.bases)
                if any(base.endswith(("Enum", "Choices")) for base in bases):
                    yield node.name


def test_every_enum_has_a_table() -> None:
    assert sorted(enums()) == sorted(MEMBERS)


def test_no_table_of_members_goes_unchecked() -> None:
    assert set(headings(GLOSSARY)) - {"Glossary", "Words", "Models"} == set(MEMBERS)


def test_every_model_is_explained_and_no_other() -> None:
    models = [model for model in apps.get_models() if model.__module__.startswith("bursary.")]

    assert sorted(first_column(GLOSSARY, "Models")) == sorted(model.__name__ for model in models)


def test_facts_and_work_are_called_what_they_are() -> None:
    named = {spans(row[0])[0]: row[1] for row in rows(section(GLOSSARY, "ActionType"))}

    assert named == {kind.value: "fact" if kind in FACTS else "work" for kind in ActionType}


def test_the_order_of_learner_states_is_the_one_that_is_stored() -> None:
    stored = ", ".join(f"{state.value} {state.label}" for state in LearnerState if state.label)

    assert f"Sorted as {stored}, {LearnerState.NONE.value} for null." in GLOSSARY


def test_each_word_is_explained_once_in_alphabetical_order() -> None:
    words = [row[0] for row in rows(section(GLOSSARY, "Words"))]

    assert len(words) == len(set(words))
    assert words == sorted(words, key=lambda word: re.sub("[^a-z ]", "", word.lower()))
    assert all(len(row) == 4 and row[1] and row[2] for row in rows(section(GLOSSARY, "Words")))
