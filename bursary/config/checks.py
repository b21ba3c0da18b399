"""System checks, which refuse harmful combinations of settings before anything starts."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from bursary.config.environment import misspelt
from bursary.config.secret_key import SHORTEST_SECRET
from bursary.events import webhook
from bursary.ops.console import SETTINGS

EXECUTORS = ("thread", "celery", "none")
CLOCKS = ("thread", "celery", "none")
BROKERS = ("redis", "rediss", "redis+socket", "amqp", "amqps")
MAX_THREADS = 64
MAX_SENDS = 1_000_000
SHORTEST_TOKEN = 20  # characters
LONGEST_URL = 255  # characters, as in the column, which is unique: MySQL allows no longer one
_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
EVENT_BUSES = ("redis", "rediss", "unix")
CONTENT_READS = ("replica", "shadow", "upstream")
SMTP_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
LONGEST_LINK_AGE = timedelta(days=366)
LONGEST_KEPT = timedelta(days=36_500)


@checks.register(SETTINGS)
def check_names(**_of_django: object) -> Iterator[checks.CheckMessage]:
    """Yield a warning for each variable that is not a setting, but has nearly the name of one."""
    for name, nearest in misspelt(os.environ).items():
        yield checks.Warning(
            f"{name} is no setting, and nothing reads it.",
            hint=f"Did you mean {nearest}?",
            id="bursary.W052",
        )


@checks.register(SETTINGS)
def check_processes(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting of workers that is invalid, or could send a mail twice."""
    if settings.LEASE < 3 * settings.SEND_DEADLINE:
        yield checks.Error(
            f"LEASE ({_seconds(settings.LEASE)}) is shorter than three times SEND_DEADLINE "
            f"({_seconds(settings.SEND_DEADLINE)}): two workers could send the same mail.",
            hint="Leave LEASE as it is derived in settings.py, or raise it.",
            id="bursary.E001",
        )
    if settings.EXECUTOR not in EXECUTORS:
        yield checks.Error(
            f"BURSARY_EXECUTOR is {settings.EXECUTOR!r}.",
            hint="Set it to 'thread' (the server delivers), 'celery' (workers do) or 'none' (`bursary "
            "deliver` does).",
            id="bursary.E002",
        )
    if not 1 <= settings.RUNNER_THREADS <= MAX_THREADS:
        yield checks.Error(
            f"BURSARY_RUNNER_THREADS is {settings.RUNNER_THREADS}.",
            hint=f"Set it to a number from 1 to {MAX_THREADS}: each has a connection to the database.",
            id="bursary.E036",
        )
    if not 0 <= settings.SENDS_PER_MINUTE <= MAX_SENDS:
        yield checks.Error(
            f"BURSARY_SENDS_PER_MINUTE is {settings.SENDS_PER_MINUTE}.",
            hint=f"Set it to what the mail server allows, at most {MAX_SENDS}; 0 is no limit.",
            id="bursary.E037",
        )
    if settings.CLOCK not in CLOCKS:
        yield checks.Error(
            f"BURSARY_CLOCK is {settings.CLOCK!r}.",
            hint="Set it to 'thread' (the server runs scheduled tasks), 'celery' (workers do, woken by "
            "`bursary beat`) or 'none' (commands in cron do).",
            id="bursary.E007",
        )


@checks.register(SETTINGS)
def check_celery(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting with which Celery, if chosen, would not work."""
    if "celery" not in (settings.EXECUTOR, settings.CLOCK):
        return
    if settings.CLOCK not in ("celery", "none") or settings.EXECUTOR != "celery":
        yield checks.Error(
            f"BURSARY_EXECUTOR is {settings.EXECUTOR!r} and BURSARY_CLOCK is {settings.CLOCK!r}: the "
            "server's threads and Celery's workers do not share the work.",
            hint="Set BURSARY_EXECUTOR=celery and leave BURSARY_CLOCK out, or set it to 'none' where "
            "commands in cron run the scheduled tasks.",
            id="bursary.E018",
        )
    if urlsplit(settings.BROKER_URL).scheme not in BROKERS:
        # The URL is not printed, because it may have a password.
        yield checks.Error(
            "BURSARY_BROKER_URL is empty, or not the URL of a Redis or RabbitMQ.",
            hint="Name redis://host:6379/0 or amqp://user:password@host:5672/name",
            id="bursary.E019",
        )
    if find_spec("celery") is None:
        yield checks.Error(
            "BURSARY_EXECUTOR is 'celery', and celery cannot be imported.",
            hint="Install bursary[celery].",
            id="bursary.E020",
        )


@checks.register(SETTINGS)
def check_mails(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting of mails, and of the links in them, that would not work."""
    timeout = timedelta(seconds=settings.EMAIL_TIMEOUT)
    if not timedelta(0) < timeout <= settings.SEND_DEADLINE:
        yield checks.Error(
            f"BURSARY_EMAIL_TIMEOUT_SECONDS ({_seconds(timeout)}) is not between 1 and "
            f"BURSARY_SEND_DEADLINE_SECONDS ({_seconds(settings.SEND_DEADLINE)}).",
            hint="Lower the first or raise the second.",
            id="bursary.E004",
        )
    if settings.EMAIL_BACKEND == SMTP_BACKEND and not settings.EMAIL_HOST:
        yield checks.Error(
            "BURSARY_EMAIL_URL names no host.",
            hint="Two slashes stand before the host: smtp://mail.example.org:25",
            id="bursary.E017",
        )
    folder = getattr(settings, "EMAIL_FILE_PATH", None) or "/"
    as_files = settings.EMAIL_BACKEND == "bursary.delivery.file_backend.FileEmailBackend"
    if as_files and not Path(folder).is_absolute():
        yield checks.Error(
            f"BURSARY_EMAIL_URL names the relative folder {folder!r}, which depends on the current folder.",
            hint="An absolute one has four slashes: filemail:////srv/mail",
            id="bursary.E006",
        )
    if not timedelta(days=1) <= settings.LINK_AGE <= LONGEST_LINK_AGE:
        yield checks.Error(
            f"BURSARY_LINK_DAYS is {settings.LINK_AGE.days}, which is not between 1 and "
            f"{LONGEST_LINK_AGE.days}.",
            hint="The default is 14. An expired link offers to send a new one.",
            id="bursary.E008",
        )


@checks.register(SETTINGS)
def check_catalog(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting with which the catalog could not be read."""
    url = urlsplit(settings.CATALOG_URL)
    over_http = _is_plain(settings.CATALOG_URL)
    is_file = url.scheme == "file" and url.netloc in ("", "localhost") and url.path.startswith("/")
    if not is_file and not over_http:
        flaw = {
            "http": "contains a password, a query or a fragment",
            "https": "contains a password, a query or a fragment",
            "file": "names another machine" if url.netloc else "names no absolute path",
        }.get(url.scheme, "has no known scheme")
        yield checks.Error(
            f"BURSARY_CATALOG_URL {flaw}.",
            hint="Name a JSONL file, a folder of them, file:///srv/catalogs/, or https://catalog.example.org",
            id="bursary.E003",
        )
    credentials = (settings.OAUTH_URL, settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET)
    if over_http and not (all(credentials) and _is_plain(settings.OAUTH_URL)):
        yield checks.Error(
            "BURSARY_CATALOG_URL needs an access token, and the settings for getting one are incomplete.",
            hint="Set BURSARY_OAUTH_URL (the LMS: https://lms.example.org), BURSARY_OAUTH_CLIENT_ID and "
            "BURSARY_OAUTH_CLIENT_SECRET.",
            id="bursary.E011",
        )
    if not timedelta(0) < settings.UPSTREAM_DEADLINE <= timedelta(minutes=5):
        yield checks.Error(
            f"BURSARY_UPSTREAM_DEADLINE_SECONDS ({_seconds(settings.UPSTREAM_DEADLINE)}) is not between 1 "
            "and 300.",
            hint="The default is 10. Raise it if the catalog is slow.",
            id="bursary.E012",
        )


@checks.register(SETTINGS)
def check_content_reads(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting of content reads that is unknown or out of range."""
    reading, fetching = settings.CONTENT_READ_DEADLINE, settings.CONTENT_FETCH_DEADLINE
    if not timedelta(0) < reading <= fetching:
        yield checks.Error(
            f"BURSARY_CONTENT_READ_SECONDS ({_seconds(reading)}) is not above 0 and at most "
            f"BURSARY_CONTENT_FETCH_SECONDS ({_seconds(fetching)}).",
            hint="The defaults are 2 and 30.",
            id="bursary.E010",
        )
    if not timedelta(0) < settings.CONTENT_FRESH_FOR:
        yield checks.Error(
            "BURSARY_CONTENT_FRESH_HOURS is not above 0.",
            hint="The default is 6.",
            id="bursary.E009",
        )
    if settings.CONTENT_READS not in CONTENT_READS:
        yield checks.Error(
            f"BURSARY_CONTENT_READS is {settings.CONTENT_READS!r}.",
            hint="Set it to 'replica' (the default), 'shadow' or 'upstream'.",
            id="bursary.E016",
        )


@checks.register(SETTINGS)
def check_addresses(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each invalid address of this service and the LMS, and an invalid metrics token."""
    url = urlsplit(settings.BASE_URL)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        yield checks.Error(
            f"BURSARY_BASE_URL is {settings.BASE_URL!r}: the links in mails would not work.",
            hint="Set the URL of this service: https://bursary.example.org",
            id="bursary.E005",
        )
    into_run = settings.COURSEWARE_URL
    if into_run and not (into_run.count("{run}") == 1 and _is_plain(into_run.replace("{run}", "run"))):
        yield checks.Error(
            f"BURSARY_COURSEWARE_URL is {into_run!r}, which is not an address with one {{run}} in it.",
            hint="Set where the LMS shows a run: https://learning.example.org/course/{run}/home",
            id="bursary.E021",
        )
    token = settings.METRICS_TOKEN
    short = len(token) < SHORTEST_TOKEN
    if token and (short or not token.isascii() or any(map(str.isspace, token))):
        flaw = f"is shorter than {SHORTEST_TOKEN} characters" if short else "is not valid in a header"
        yield checks.Error(
            f"BURSARY_METRICS_TOKEN {flaw}.",
            hint="python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one.",
            id="bursary.E015",
        )


@checks.register(SETTINGS)
def check_jwt(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting with which tokens could not be verified, or could be forged."""
    sources = [settings.JWT_JWK_SET_URL, settings.JWT_JWK_SET, settings.JWT_SECRET]
    given = [settings.JWT_ISSUER, settings.JWT_AUDIENCE]
    if any(sources + given) and not (all(given) and sum(map(bool, sources)) == 1):
        yield checks.Error(
            "Sign-in with tokens needs BURSARY_JWT_ISSUER, BURSARY_JWT_AUDIENCE, and exactly one of "
            "BURSARY_JWT_JWK_SET_URL, BURSARY_JWT_JWK_SET and BURSARY_JWT_SECRET.",
            hint="A JWK set and a secret are never used together. docs/operations.md has an example, under "
            "Sign in with Open edX.",
            id="bursary.E030",
        )
    # Imported here, because it imports cryptography, which few commands need.
    if settings.JWT_JWK_SET and not import_module("bursary.access.signing_keys").parse(settings.JWT_JWK_SET):
        yield checks.Error(
            "BURSARY_JWT_JWK_SET has no usable public key.",
            hint='It is JSON: {"keys": [{"kty": "RSA", "kid": "…", "n": "…", "e": "AQAB"}]}, without private '
            "keys and secrets.",
            id="bursary.E031",
        )
    url = settings.JWT_JWK_SET_URL
    if url and not (_is_plain(url) and len(url) <= LONGEST_URL and (_is_https(url) or is_local(url))):
        yield checks.Error(
            "BURSARY_JWT_JWK_SET_URL is not an https URL, or it contains a password, a query or a fragment.",
            hint="Only a URL on this machine may begin with http://.",
            id="bursary.E032",
        )
    flaws = {
        f"is shorter than {SHORTEST_SECRET} characters": len(settings.JWT_SECRET) < SHORTEST_SECRET,
        "is set, and BURSARY_BASE_URL is not on this machine": not is_local(settings.BASE_URL),
    }
    for flaw in [flaw for flaw, applies in flaws.items() if applies and settings.JWT_SECRET]:
        yield checks.Error(
            f"BURSARY_JWT_SECRET {flaw}: others could sign in as anyone.",
            hint="It is for development. Use BURSARY_JWT_JWK_SET_URL.",
            id="bursary.E033",
        )


@checks.register(SETTINGS)
def check_callers(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each invalid origin of web clients and limit of requests."""
    wrong = [one for one in settings.CLIENT_ORIGINS if not _ORIGIN.fullmatch(one)]
    insecure = [one for one in settings.CLIENT_ORIGINS if not (_is_https(one) or is_local(one))]
    if wrong or insecure:
        yield checks.Error(
            f"BURSARY_CLIENT_ORIGINS names {', '.join(map(repr, dict.fromkeys(wrong + insecure)))}.",
            hint="Name each origin exactly, in lower case, with https and without a path: "
            "https://admin.example.org. No wildcard, and not null.",
            id="bursary.E034",
        )
    if settings.CLIENT_ORIGINS and not (_is_https(settings.BASE_URL) or is_local(settings.BASE_URL)):
        yield checks.Error(
            "BURSARY_CLIENT_ORIGINS is set, and BURSARY_BASE_URL is not https: browsers would not keep the "
            "CSRF cookie.",
            hint="Serve Bursary behind TLS.",
            id="bursary.E035",
        )
    for kind, usual in (("POSTS", 1200), ("GETS", 6000)):
        if getattr(settings, f"{kind}_PER_MINUTE") < 0:
            yield checks.Error(
                f"BURSARY_{kind}_PER_MINUTE is below 0.",
                hint=f"The default is {usual}; 0 is no limit.",
                id="bursary.E039",
            )


@checks.register(SETTINGS)
def check_events(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each setting with which events would not be consumed, or webhooks not verified."""
    missing = [name for name in ("openedx_events", "redis") if find_spec(name) is None]
    known_bus = urlsplit(settings.EVENT_BUS_URL).scheme in EVENT_BUSES
    flaws = {
        f"BURSARY_EVENT_BUS_URL is set, and {' and '.join(missing)} cannot be imported.": missing,
        "BURSARY_EVENT_BUS_URL is not the URL of a Redis.": not known_bus,
        "BURSARY_EVENT_BUS_URL is set, and BURSARY_EVENT_GROUP is empty.": not settings.EVENT_GROUP,
        "BURSARY_EVENT_BUS_URL is set, and BURSARY_EVENT_CONSUMER is empty.": not settings.EVENT_CONSUMER,
    }
    for flaw in [flaw for flaw, applies in flaws.items() if applies and settings.EVENT_BUS_URL]:
        yield checks.Error(
            flaw,
            hint="Install bursary[openedx], and name redis://host:6379/0. Or leave the URL out.",
            id="bursary.E013",
        )
    unusable = [number for number, one in enumerate(settings.WEBHOOK_SECRETS, 1) if not webhook.usable(one)]
    if unusable:
        yield checks.Error(
            f"BURSARY_WEBHOOK_SECRETS: number {', '.join(map(str, unusable))} is not whsec_ and base64 of 24 "
            "bytes or more.",
            hint="Make one: echo whsec_$(openssl rand -base64 32)",
            id="bursary.E014",
        )


@checks.register(SETTINGS)
def check_retention(**_of_django: object) -> Iterator[checks.Error]:
    """Yield an error for each retention period that is out of range."""
    kinds = ("MAILS", "ATTEMPTS", "CHANGES", "EXPORTS", "EVENTS", "ANSWERS")
    for kind in kinds:
        kept: timedelta = getattr(settings, f"KEEP_{kind}")
        if not timedelta(days=1) <= kept <= LONGEST_KEPT:
            yield checks.Error(
                f"BURSARY_KEEP_{kind}_DAYS is {kept.days}.",
                hint=f"Set a number of days from 1 to {LONGEST_KEPT.days}.",
                id="bursary.E060",
            )


def _is_plain(url: str) -> bool:
    """Return whether this is an HTTP URL without a password, a query or a fragment."""
    parts = urlsplit(url)
    extra = "@" in parts.netloc or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not extra


def _is_https(url: str) -> bool:
    return urlsplit(url).scheme == "https"


def is_local(url: str) -> bool:
    """Return whether a URL is on this machine."""
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
