"""Reads settings from the environment, with an error in one sentence for each unusable value."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured


class _Env(environ.Env):  # type: ignore[misc]  # it has no types
    """The environment. It records the name of each setting that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        self.read.add(var)
        return super().get_value(var, *args, **kwargs)


env = _Env()

DATABASE_SCHEMES = (
    "sqlite://",
    "postgres://",
    "postgresql://",
    "psql://",
    "pgsql://",
    "mysql://",
    "mysql2://",
)


PREFIX = "BURSARY_"
PROVIDERS_PREFIX = f"{PREFIX}ANYMAIL_"
"""The prefix of django-anymail's settings, which are read for any provider."""
ALIKE = 0.8
"""The least similarity, from 0 to 1, of a misspelt name to a setting's."""
MAX_CHARACTERS = 40
"""The most characters of a value that an error quotes."""
LARGEST_PORT = 65_535
LARGEST_NUMBER = 999_999_999  # also the most days of a timedelta
BY_PATH = ("file", "filemail", "unix", "redis+socket")
"""The schemes of URLs with a file or a folder instead of a host."""
_FALSE = ("false", "off", "n", "no", "0", "")


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are not settings, but similar to one, each with that setting.

    A name that is similar to none may belong to another program.
    """
    known = {name.removeprefix(PREFIX) for name in env.read}
    found = {}
    for name in sorted(set(names) - env.read):
        if name.startswith(PREFIX) and not name.startswith(PROVIDERS_PREFIX):
            for nearest in get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=ALIKE):
                found[name] = f"{PREFIX}{nearest}"
    return found


def whole_number(name: str, *, default: int) -> int:
    """Return a whole number from the environment. Raises ImproperlyConfigured, naming the setting."""
    try:
        number = int(env.int(name, default=default))
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} is {_quoted(env.str(name))}, which is not a whole number"
        ) from error
    if abs(number) > LARGEST_NUMBER:
        raise ImproperlyConfigured(f"{name} is further from 0 than {LARGEST_NUMBER}")
    return number


def number(name: str, *, default: float) -> float:
    """Return a number from the environment. Raises ImproperlyConfigured, naming the setting."""
    text = env.str(name, default=str(default))
    try:
        found = float(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {_quoted(text)}, which is not a number") from error
    if not abs(found) <= LARGEST_NUMBER:
        raise ImproperlyConfigured(f"{name} is {_quoted(text)}, which is not a number up to {LARGEST_NUMBER}")
    return found


def port(name: str, *, default: int) -> int:
    """Return a port's number, the default if it is empty. Raises ImproperlyConfigured, naming the setting."""
    found = whole_number(name, default=default) if env.str(name, default="") else default
    if not 0 <= found <= LARGEST_PORT:
        raise ImproperlyConfigured(f"{name} is {found}, which is not a port: 0 to {LARGEST_PORT}")
    return found


def _quoted(text: str) -> str:
    return repr(text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…")


def flag(name: str, *, default: bool) -> bool:
    """Return whether a setting is switched on. Raises ImproperlyConfigured, naming the setting."""
    text = env.str(name, default=str(default)).strip().lower()
    if text not in (*env.BOOLEAN_TRUE_STRINGS, *_FALSE):
        raise ImproperlyConfigured(f"{name} is {_quoted(text)}, which is neither true nor false")
    return text not in _FALSE


def url(name: str, *, default: str = "") -> str:
    """Return a URL of any scheme. Raises ImproperlyConfigured, which prints no password."""
    return _readable(name, env.str(name, default=default))


def urls(name: str) -> list[str]:
    """Return comma-separated URLs. Raises ImproperlyConfigured, which prints no password."""
    return [_readable(name, one) for one in env.list(name, default=[])]


def _readable(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # it is parsed when it is read
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not a URL, such as https://bursary.example.org") from error
    by_path = parts.scheme in BY_PATH
    named = parts.path.strip("/") if by_path else parts.hostname
    if not named and ("://" in text or parts.scheme in ("http", "https")):
        raise ImproperlyConfigured(f"{name} names no {'path' if by_path else 'host'} after {parts.scheme}://")
    return text


def email_config(name: str, *, default: str) -> dict[str, str]:
    """Return Django's settings for a mail URL. Raises ImproperlyConfigured, which prints no password.

    `anymail://mailgun` names a mail provider: its credentials are settings of their own.
    """
    examples = "smtp://user:password@mail.example.org:25, anymail://mailgun, filemail:////srv/mail"
    try:
        parts = urlsplit(env.str(name, default=default))
        if parts.scheme == "anymail":
            backend = "bursary.delivery.provider_backend.configured"
            return {"EMAIL_BACKEND": backend, "MAIL_PROVIDER": parts.netloc.lower()}
        config = dict(env.email_url(name, default=default))
    except (ImproperlyConfigured, ValueError) as error:
        raise ImproperlyConfigured(f"{name} is not the URL of a mail server, such as {examples}") from error
    if parts.scheme in BY_PATH and not parts.path.strip("/"):
        raise ImproperlyConfigured(f"{name} names no folder after {parts.scheme}://, such as {examples}")
    return config


def database_config(name: str, *, default: str) -> dict[str, Any]:
    """Return Django's settings for a database URL. Raises ImproperlyConfigured, which prints no password."""
    examples = (
        "postgres://user:password@db.example.org:5432/bursary, mysql://… or sqlite:////srv/bursary.sqlite3"
    )
    unusable = f"{name} is not the URL of a database, such as {examples}"
    if not env.str(name, default=default).startswith(DATABASE_SCHEMES):
        raise ImproperlyConfigured(unusable)
    try:
        config = dict(env.db_url(name, default=default))
    except (ImproperlyConfigured, ValueError) as error:
        raise ImproperlyConfigured(unusable) from error
    # Without a host, a server's socket on this machine is used. PostgreSQL's `service` includes the name.
    if config["NAME"].strip("/") in ("", ":memory:") and "service" not in config.get("OPTIONS", {}):
        what = (
            "file after sqlite:///"
            if env.str(name, default=default)[:6] == "sqlite"
            else "database after the host"
        )
        raise ImproperlyConfigured(f"{name} names no {what}, such as {examples}")
    return config
