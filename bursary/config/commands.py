"""The commands of `bursary`: their list by purpose, and the command nearest to a misspelt name."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from django.core.management import find_commands, load_command_class

OWN = "bursary.ops"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Set up and serve": ("migrate", "setup", "issue_key", "serve", "worker", "beat", "demo"),
    "See what happens": ("status", "timeline", "explain_content"),
    "Repair": ("retry_failed", "skip_failed", "correct_address", "extend_deadlines"),
    "Data protection": ("forget_learner", "forget_learners"),
    "Work that `serve` does, for cron": (
        *("deliver", "refresh_content", "apply_events", "consume_events"),
        *("expire_assignments", "remind_assignments", "nudge_assignments"),
    ),
    "Compare and rebuild": (
        *("audit_content", "audit_derived", "rebuild_derived", "backfill_content", "shadow_report"),
    ),
}
"""This service's commands. A test compares them with the modules of commands."""
USEFUL = ("check", "createsuperuser", "changepassword")
"""Django's commands that an operator needs."""
_OTHERS = (
    *("django.core", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"),
    *("whitenoise.runserver_nostatic", "django.contrib.staticfiles", "rest_framework", "drf_spectacular"),
)
"""The packages with other commands. A constant, because the commands are listed without the settings."""


def own_names() -> set[str]:
    """Return the names of this service's commands."""
    return {name for group in GROUPS.values() for name in group}


def names() -> set[str]:
    """Return the name of every command. Needs no settings."""
    found = own_names() | {"help", "version"}
    for package in _OTHERS:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found |= set(find_commands(str(Path(folder, "management"))))
    return found


def nearest(name: str) -> str:
    """Return the name of the most similar command; empty if none is similar.

    This service's commands that begin with the name come first: for `retry`, return `retry_failed`.
    """
    longer = sorted(one for one in own_names() if one.startswith(f"{name}_"))
    return longer[0] if longer else next(iter(get_close_matches(name, names(), n=1)), "")


def overview() -> str:
    """Return the list of commands, with a line for each. Needs the settings."""
    lines = ["Usage: bursary COMMAND [options]. `bursary COMMAND --help` lists the options."]
    width = max(map(len, own_names()))
    for title, group in {**GROUPS, "Django's own": USEFUL}.items():
        lines += ["", title, *(f"  {name:<{width}}  {_summary(name)}" for name in group)]
    others = sorted(names() - own_names() - {*USEFUL, "help", "version"})
    return "\n".join([*lines, "", f"Other commands of Django: {', '.join(others)}."])


def _summary(name: str) -> str:
    """Return the first sentence of a command's help, without the full stop."""
    own = find_spec(f"{OWN}.management.commands.{name}")
    app = OWN if own else "django.contrib.auth" if name.endswith(("user", "password")) else "django.core"
    return str(load_command_class(app, name).help).split(". ")[0].rstrip(".")
