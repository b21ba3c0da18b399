"""Reads settings from the environment, and says in a sentence which one cannot be used."""

from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

DATABASE_SCHEMES = (
    "sqlite://",
    "postgres://",
    "postgresql://",
    "psql://",
    "pgsql://",
    "mysql://",
    "mysql2://",
)


def whole_number(name: str, *, default: int) -> int:
    """Return a whole number from the environment. Raises ImproperlyConfigured, naming the setting."""
    try:
        return int(env.int(name, default=default))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {env.str(name)!r}, which is not a whole number") from error


def email_config(name: str, *, default: str) -> dict[str, str]:
    """Return Django's settings for a mail URL. Raises ImproperlyConfigured, which prints no password.

    `anymail://mailgun` names a mail provider: its credentials are settings of their own.
    """
    url = urlsplit(env.str(name, default=default))
    if url.scheme == "anymail":
        backend = "bursary.delivery.provider_backend.configured"
        return {"EMAIL_BACKEND": backend, "MAIL_PROVIDER": url.netloc.lower()}
    try:
        return dict(env.email_url(name, default=default))
    except (ImproperlyConfigured, ValueError) as error:
        examples = "smtp://user:password@mail.example.org:25, anymail://mailgun, filemail:////srv/mail"
        raise ImproperlyConfigured(f"{name} is not the URL of a mail server, such as {examples}") from error


def database_config(name: str, *, default: str) -> dict[str, Any]:
    """Return Django's settings for a database URL. Raises ImproperlyConfigured, which prints no password."""
    examples = (
        "postgres://user:password@db.example.org:5432/bursary, mysql://… or sqlite:////srv/bursary.sqlite3"
    )
    unusable = f"{name} is not the URL of a database, such as {examples}"
    if not env.str(name, default=default).startswith(DATABASE_SCHEMES):
        raise ImproperlyConfigured(unusable)
    try:
        return dict(env.db_url(name, default=default))
    except (ImproperlyConfigured, ValueError) as error:
        raise ImproperlyConfigured(unusable) from error
