"""The commands that the overview names are those that there are."""

from django.core.management import find_commands, get_commands

from bursary import ops
from bursary.config import commands


def test_every_command_is_in_one_group_of_the_overview() -> None:
    named = [name for group in commands.GROUPS.values() for name in group]
    assert sorted(named) == sorted(find_commands(f"{ops.__path__[0]}/management"))


def test_every_command_is_known_before_the_settings_are_read() -> None:
    assert set(get_commands()) <= commands.names()
