"""System checks: combinations of settings that would do harm are refused before anything starts."""

from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from bursary.events import webhook

EXECUTORS = ("thread", "none")
CLOCKS = ("thread", "none")
SHORTEST_TOKEN = 20  # characters
EVENT_BUSES = ("redis", "rediss", "unix")
CONTENT_READS = ("replica", "shadow", "upstream")
LONGEST_LINK_AGE = timedelta(days=366)


@checks.register
def a_lease_outlives_a_send(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse a lease that could end while its send is still going on: the mail would go out twice."""
    if settings.LEASE >= 3 * settings.SEND_DEADLINE:
        return []
    return [
        checks.Error(
            f"LEASE ({_seconds(settings.LEASE)}) is shorter than three times SEND_DEADLINE "
            f"({_seconds(settings.SEND_DEADLINE)}): two workers could send the same mail.",
            hint="Leave LEASE as it is derived in settings.py, or raise it.",
            id="bursary.E001",
        )
    ]


@checks.register
def the_executor_is_known(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse an executor that nobody implements: work would wait for ever."""
    if settings.EXECUTOR in EXECUTORS:
        return []
    return [
        checks.Error(
            f"BURSARY_EXECUTOR is {settings.EXECUTOR!r}.",
            hint="Set it to 'thread' (the server delivers) or 'none' (`bursary deliver` does).",
            id="bursary.E002",
        )
    ]


@checks.register
def the_clock_is_known(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse a clock that nobody winds: nothing would happen by itself."""
    if settings.CLOCK in CLOCKS:
        return []
    return [
        checks.Error(
            f"BURSARY_CLOCK is {settings.CLOCK!r}.",
            hint="Set it to 'thread' (the server runs the ticks) or 'none' (commands in cron do).",
            id="bursary.E007",
        )
    ]


@checks.register
def the_catalog_can_be_opened(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse a catalog's address that is neither an absolute file:// URL nor a plain address of the web."""
    address = urlsplit(settings.CATALOG_URL)
    local = address.scheme == "file" and address.netloc in ("", "localhost") and address.path.startswith("/")
    if local or _is_plain(settings.CATALOG_URL):
        return []
    return [
        checks.Error(
            f"BURSARY_CATALOG_URL has the scheme {address.scheme or 'nothing'!r}, or no absolute path, or "
            "something in it that is no address, such as a password.",
            hint="Name a JSONL file, a folder of them, file:///srv/catalogs/, or https://catalog.example.org",
            id="bursary.E003",
        )
    ]


@checks.register
def a_catalog_over_http_knows_us(
    app_configs: Sequence[AppConfig] | None, **_more: object
) -> list[checks.Error]:
    """Refuse enterprise-catalog without the credentials that it must be asked with."""
    who = (settings.OAUTH_URL, settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET)
    if not _is_plain(settings.CATALOG_URL) or (all(who) and _is_plain(settings.OAUTH_URL)):
        return []
    return [
        checks.Error(
            "BURSARY_CATALOG_URL is asked with a token, and it is not said where to get one, or as whom.",
            hint="Set BURSARY_OAUTH_URL (the LMS: https://lms.example.org), BURSARY_OAUTH_CLIENT_ID and "
            "BURSARY_OAUTH_CLIENT_SECRET.",
            id="bursary.E011",
        )
    ]


@checks.register
def upstream_is_given_time(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse a deadline within which nobody can answer, or after which nobody waits any more."""
    if timedelta(0) < settings.UPSTREAM_DEADLINE <= timedelta(minutes=5):
        return []
    return [
        checks.Error(
            f"BURSARY_UPSTREAM_DEADLINE_SECONDS ({_seconds(settings.UPSTREAM_DEADLINE)}) is not between 1 "
            "and 300.",
            hint="Leave it at 10, or raise it where the catalog is far away.",
            id="bursary.E012",
        )
    ]


@checks.register
def nobody_waits_long_for_the_catalog(
    app_configs: Sequence[AppConfig] | None, **_more: object
) -> list[checks.Error]:
    """Refuse deadlines of no length, and a reader who waits longer than the refresher would."""
    reading, fetching = settings.CONTENT_READ_DEADLINE, settings.CONTENT_FETCH_DEADLINE
    if timedelta(0) < reading <= fetching and timedelta(0) < settings.CONTENT_FRESH_FOR:
        return []
    return [
        checks.Error(
            f"BURSARY_CONTENT_READ_SECONDS ({_seconds(reading)}) is not above 0 and at most "
            f"BURSARY_CONTENT_FETCH_SECONDS ({_seconds(fetching)}), or BURSARY_CONTENT_FRESH_HOURS is not "
            "above 0.",
            hint="Leave them out, or choose 2, 30 and 6.",
            id="bursary.E010",
        )
    ]


@checks.register
def the_read_mode_is_known(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse a mode that nobody implements: a mistyped way back would be none."""
    if settings.CONTENT_READS in CONTENT_READS:
        return []
    return [
        checks.Error(
            f"BURSARY_CONTENT_READS is {settings.CONTENT_READS!r}.",
            hint="Set it to 'replica' (the default), 'shadow' or 'upstream'.",
            id="bursary.E016",
        )
    ]


@checks.register
def a_mail_ends_within_its_deadline(
    app_configs: Sequence[AppConfig] | None, **_more: object
) -> list[checks.Error]:
    """Refuse to wait longer for one answer of the mail server than a whole send may take."""
    patience = timedelta(seconds=settings.EMAIL_TIMEOUT)
    if timedelta(0) < patience <= settings.SEND_DEADLINE:
        return []
    return [
        checks.Error(
            f"BURSARY_EMAIL_TIMEOUT_SECONDS ({_seconds(patience)}) is not between 1 and "
            f"BURSARY_SEND_DEADLINE_SECONDS ({_seconds(settings.SEND_DEADLINE)}).",
            hint="Lower the first or raise the second.",
            id="bursary.E004",
        )
    ]


@checks.register
def mails_are_files_where_expected(
    app_configs: Sequence[AppConfig] | None, **_more: object
) -> list[checks.Error]:
    """Refuse a folder for mails that depends on where a process was started."""
    folder = getattr(settings, "EMAIL_FILE_PATH", None) or "/"
    as_files = settings.EMAIL_BACKEND == "bursary.delivery.file_backend.EmailBackend"
    if not as_files or Path(folder).is_absolute():
        return []
    return [
        checks.Error(
            f"BURSARY_EMAIL_URL names the relative folder {folder!r}.",
            hint="An absolute one has four slashes: filemail:////srv/mail",
            id="bursary.E006",
        )
    ]


@checks.register
def links_can_be_followed(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse a base URL that would make dead links in mails."""
    address = urlsplit(settings.BASE_URL)
    if address.scheme in ("http", "https") and address.hostname and not (address.query or address.fragment):
        return []
    return [
        checks.Error(
            f"BURSARY_BASE_URL is {settings.BASE_URL!r}: the links in mails would lead nowhere.",
            hint="Set the address that people type: https://bursary.example.org",
            id="bursary.E005",
        )
    ]


@checks.register
def links_live_for_a_while(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse links in mails that end before they arrive, or that hardly ever end."""
    if timedelta(days=1) <= settings.LINK_AGE <= LONGEST_LINK_AGE:
        return []
    return [
        checks.Error(
            f"BURSARY_LINK_DAYS is {settings.LINK_AGE.days}: links in mails live between 1 and "
            f"{LONGEST_LINK_AGE.days} days.",
            hint="Fourteen is the default. Who comes later can ask for a new link.",
            id="bursary.E008",
        )
    ]


@checks.register
def metrics_are_not_for_everybody(
    app_configs: Sequence[AppConfig] | None, **_more: object
) -> list[checks.Error]:
    """Refuse a token that can be guessed, or that no header can carry."""
    token = settings.METRICS_TOKEN
    if not token or (len(token) >= SHORTEST_TOKEN and token.isascii() and not any(map(str.isspace, token))):
        return []
    return [
        checks.Error(
            f"BURSARY_METRICS_TOKEN is shorter than {SHORTEST_TOKEN} characters, or no header takes it.",
            hint="python3 -c 'import secrets; print(secrets.token_urlsafe())' makes a good one.",
            id="bursary.E015",
        )
    ]


@checks.register
def the_event_bus_can_be_read(app_configs: Sequence[AppConfig] | None, **_more: object) -> list[checks.Error]:
    """Refuse an event bus that is no Redis, and one that what reads it is not installed for."""
    if not settings.EVENT_BUS_URL:
        return []
    missing = [name for name in ("openedx_events", "redis") if find_spec(name) is None]
    names = settings.EVENT_GROUP and settings.EVENT_CONSUMER
    if urlsplit(settings.EVENT_BUS_URL).scheme in EVENT_BUSES and names and not missing:
        return []
    return [
        checks.Error(
            f"BURSARY_EVENT_BUS_URL is set, and {' and '.join(missing)} cannot be imported."
            if missing
            else "BURSARY_EVENT_BUS_URL names no Redis, or BURSARY_EVENT_GROUP or BURSARY_EVENT_CONSUMER is "
            "empty.",
            hint="Install bursary[openedx], and name redis://host:6379/0. Or leave the address out.",
            id="bursary.E013",
        )
    ]


@checks.register
def webhooks_are_signed_with_secrets(
    app_configs: Sequence[AppConfig] | None, **_more: object
) -> list[checks.Error]:
    """Refuse secrets that cannot sign, or that could be guessed."""
    unusable = [number for number, one in enumerate(settings.WEBHOOK_SECRETS, 1) if not webhook.usable(one)]
    if not unusable:
        return []
    return [
        checks.Error(
            f"BURSARY_WEBHOOK_SECRETS: number {', '.join(map(str, unusable))} is not whsec_ and base64 of 24 "
            "bytes or more.",
            hint="Make one: echo whsec_$(openssl rand -base64 32)",
            id="bursary.E014",
        )
    ]


def _is_plain(url: str) -> bool:
    """Whether it is an address of the web, without a password or a question in it."""
    address = urlsplit(url)
    plain = not ("@" in address.netloc or address.query or address.fragment)
    return address.scheme in ("http", "https") and bool(address.hostname) and plain


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
