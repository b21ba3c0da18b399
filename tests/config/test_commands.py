"""The commands that the overview names are those that there are."""

from argparse import SUPPRESS

import pytest
from django.core.management import find_commands, get_commands, load_command_class

from bursary import ops
from bursary.config import commands


def test_every_command_is_in_one_group_of_the_overview() -> None:
    named = [name for group in commands.GROUPS.values() for name in group]
    assert sorted(named) == sorted(find_commands(f"{ops.__path__[0]}/management"))


def test_every_command_is_known_before_the_settings_are_read() -> None:
    assert set(get_commands()) <= commands.names()


def test_the_nearest_command_to_a_name_may_go_on_after_it() -> None:
    found = {name: commands.nearest(name) for name in ("retry", "skip", "explain", "stauts", "frobnicate")}
    assert found == {
        "retry": "retry_failed",
        "skip": "skip_failed",
        "explain": "explain_content",
        "stauts": "status",
        "frobnicate": "",
    }


@pytest.mark.parametrize("name", sorted(commands.own_names() - {"migrate"}))  # which has Django's options
def test_each_argument_of_a_command_is_explained_and_spelled_as_in_the_manual(name: str) -> None:
    parser = load_command_class(commands.OWN, name).create_parser("bursary", name)
    for argument in parser._actions:
        if argument.help == SUPPRESS:  # what Django's parser takes beside them, in no list
            continue
        assert argument.help, argument.dest
        shown = argument.metavar or ("" if argument.choices or argument.nargs == 0 else argument.dest)
        assert str(shown) == str(shown).upper(), argument.dest
