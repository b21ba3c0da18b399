"""System checks of insecure settings; and with `--deploy`, of settings that an installation still lacks."""

from collections.abc import Iterator
from email.utils import parseaddr
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.db import connection

from bursary.config.checks import is_local
from bursary.config.secret_key import SHORTEST_SECRET
from bursary.ops.console import SETTINGS

MAX_PROXIES = 10
LONGEST_HSTS = 2 * 365 * 24 * 60 * 60  # seconds
EXAMPLES = (".example.org", ".example.com", ".example.net")
"""The domains of examples (RFC 2606), without servers and senders."""
EXAMPLE_PASSWORDS = ("password", "secret")
"""The passwords of the URLs in `deploy/` and in the documentation."""


@checks.register(checks.Tags.security, SETTINGS)
def check_security(**_of_django: object) -> Iterator[checks.CheckMessage]:
    """Yield an error for each insecure setting."""
    if len(settings.SECRET_KEY) < SHORTEST_SECRET:
        yield checks.Error(
            f"BURSARY_SECRET_KEY is shorter than {SHORTEST_SECRET} characters: sessions and links could be "
            "forged.",
            hint="Leave it out, or make one: python3 -c 'import secrets; print(secrets.token_urlsafe(64))'",
            id="bursary.E040",
        )
    if settings.DEBUG and not is_local(settings.BASE_URL):
        yield checks.Error(
            "BURSARY_DEBUG is on, and BURSARY_BASE_URL is not on this machine: error pages would show "
            "personal data and settings to strangers.",
            hint="Leave BURSARY_DEBUG out.",
            id="bursary.E041",
        )
    if settings.BEHIND_PROXY and not 1 <= settings.PROXIES <= MAX_PROXIES:
        yield checks.Error(
            f"BURSARY_PROXIES is {settings.PROXIES}, which is not between 1 and {MAX_PROXIES}.",
            hint="Count the proxies, each of which adds the address before it to X-Forwarded-For.",
            id="bursary.E042",
        )
    if not 0 <= settings.SECURE_HSTS_SECONDS <= LONGEST_HSTS:
        yield checks.Error(
            f"BURSARY_HSTS_SECONDS is {settings.SECURE_HSTS_SECONDS}, which is not between 0 and "
            f"{LONGEST_HSTS}.",
            hint="Begin with 3600; 31536000 is a year.",
            id="bursary.E043",
        )


@checks.register(checks.Tags.security, deploy=True)
def check_deployment(**_of_django: object) -> Iterator[checks.CheckMessage]:
    """Yield a warning for each setting that an installation in production still lacks."""
    https = urlsplit(settings.BASE_URL).scheme == "https"
    if not https or is_local(settings.BASE_URL):
        yield checks.Warning(
            f"BURSARY_BASE_URL is {settings.BASE_URL}: links in mails lead there, and passwords go there.",
            hint="Set the public https address of the proxy: https://bursary.example.org",
            id="bursary.W040",
        )
    if https and not settings.BEHIND_PROXY:
        yield checks.Warning(
            "BURSARY_BASE_URL is https, and BURSARY_BEHIND_PROXY is off: forms are refused, and all clients "
            "have the proxy's address.",
            hint="Set BURSARY_BEHIND_PROXY=true, and BURSARY_PROXIES where there are several.",
            id="bursary.W041",
        )
    if settings.EMAIL_BACKEND == "bursary.delivery.file_backend.FileEmailBackend":
        yield checks.Warning(
            "Mails are written to files, and reach no learner.",
            hint="Set BURSARY_EMAIL_URL.",
            id="bursary.W042",
        )
    if "localhost" in settings.DEFAULT_FROM_EMAIL:
        yield checks.Warning(
            f"BURSARY_FROM_EMAIL is {settings.DEFAULT_FROM_EMAIL}: mail servers refuse it.",
            hint="Set a sender at a domain of yours.",
            id="bursary.W043",
        )
    if https and not settings.SECURE_HSTS_SECONDS:
        yield checks.Warning(
            "BURSARY_HSTS_SECONDS is not set: browsers go on asking at http://, whatever answers there.",
            hint="Set 3600; and a year, 31536000, when https has proved to work.",
            id="bursary.W045",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield checks.Warning(
            "BURSARY_ALLOWED_HOSTS has *: any host name is answered.",
            hint="Name the hosts; that of the base URL is there without it.",
            id="bursary.W044",
        )


@checks.register(checks.Tags.security, deploy=True)
def check_left_out(**_of_django: object) -> Iterator[checks.CheckMessage]:
    """Yield a warning for each setting with a default that works, but not as an operator would expect."""
    if not settings.METRICS_TOKEN:
        yield checks.Warning(
            "BURSARY_METRICS_TOKEN is not set: there are no metrics, so no alert comes.",
            hint="Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
            id="bursary.W047",
        )
    if not settings.VAR_DIR_IS_ABSOLUTE:
        yield checks.Warning(
            "BURSARY_VAR_DIR is not set, or relative: a command in another folder uses another data folder.",
            hint="Set an absolute path: /var/lib/bursary",
            id="bursary.W048",
        )
    if connection.vendor == "sqlite":
        yield checks.Warning(
            "The database is a file of SQLite: one writer, on one machine, and nothing for Celery's workers.",
            hint="Set BURSARY_DATABASE_URL, unless that is enough.",
            id="bursary.W049",
        )
    if settings.BROKER_URL and settings.EXECUTOR != "celery":
        yield checks.Warning(
            f"BURSARY_BROKER_URL is set, and BURSARY_EXECUTOR is {settings.EXECUTOR!r}: no worker is woken.",
            hint="Set BURSARY_EXECUTOR=celery, or leave BURSARY_BROKER_URL out.",
            id="bursary.W050",
        )


@checks.register(checks.Tags.security, deploy=True)
def check_examples(**_of_django: object) -> Iterator[checks.CheckMessage]:
    """Yield a warning for each value that was copied from an example and not replaced."""
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    public = urlsplit(settings.BASE_URL).hostname
    for name, host in (("BASE_URL", public), ("EMAIL_URL", settings.EMAIL_HOST), ("FROM_EMAIL", sender)):
        if f".{host}".endswith(EXAMPLES):  # empty if mails are not sent to a host
            yield checks.Warning(
                f"BURSARY_{name} names {host}, which is an example's.",
                hint="Name your own.",
                id="bursary.W051",
            )
    for name, password in (
        ("DATABASE_URL", connection.settings_dict["PASSWORD"]),
        ("EMAIL_URL", settings.EMAIL_HOST_PASSWORD),
        ("BROKER_URL", urlsplit(settings.BROKER_URL).password),
    ):
        if password in EXAMPLE_PASSWORDS:
            yield checks.Warning(
                f"The password in BURSARY_{name} is an example's, which anyone can read.",
                hint="Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
                id="bursary.W053",
            )
