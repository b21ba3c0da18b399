"""All settings, from the environment. The defaults are for one machine without other servers.
`docs/operations.md` lists the settings, and `checks.py` refuses wrong combinations."""

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from corsheaders.defaults import default_headers
from django.conf.locale import LANG_INFO
from django.contrib.messages import constants as messages
from django.core.exceptions import ImproperlyConfigured

from bursary.config.environment import (
    PROVIDERS_PREFIX,
    database_config,
    email_config,
    env,
    flag,
    number,
    port,
    url,
    urls,
    whole_number,
)
from bursary.config.secret_key import kept_secret

# -- Where things are ---------------------------------------------------------------------------------------

PACKAGE_DIR = Path(__file__).resolve().parent.parent
_VAR_DIR = Path(env.str("BURSARY_VAR_DIR", default="var"))
VAR_DIR = _VAR_DIR.resolve()
VAR_DIR_IS_ABSOLUTE = _VAR_DIR.is_absolute()  # a relative one depends on the current folder
_LOCAL_URL = f"http://127.0.0.1:{port('PORT', default=8000)}"
BASE_URL = url("BURSARY_BASE_URL", default=_LOCAL_URL).rstrip("/")

# -- Django -------------------------------------------------------------------------------------------------

DEBUG = flag("BURSARY_DEBUG", default=False)
SECRET_KEY = env.str("BURSARY_SECRET_KEY", default="") or kept_secret(VAR_DIR / "secret.key")
FORMER_SECRET_KEYS = env.list("BURSARY_FORMER_SECRET_KEYS", default=[])  # they sign nothing
ALLOWED_HOSTS = env.list(
    "BURSARY_ALLOWED_HOSTS", default=[urlsplit(BASE_URL).hostname or "", "127.0.0.1", "localhost", "[::1]"]
)
# Pages of these origins may use the API with the reader's cookies. Written exactly as browsers send them.
CLIENT_ORIGINS = urls("BURSARY_CLIENT_ORIGINS")
# Invalid origins are left to a check of this service, with a clearer message than Django's.
CSRF_TRUSTED_ORIGINS = [origin for origin in (BASE_URL, *CLIENT_ORIGINS) if "://" in origin]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")
if CLIENT_ORIGINS:
    # This cookie does not sign in. The session's stays Lax, so that other sites' pages never send it.
    CSRF_COOKIE_SAMESITE, CSRF_COOKIE_SECURE = "None", True
BEHIND_PROXY = flag("BURSARY_BEHIND_PROXY", default=False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
_PROXIES = whole_number("BURSARY_PROXIES", default=1)
PROXIES = _PROXIES if BEHIND_PROXY else 0
SECURE_HSTS_SECONDS = whole_number("BURSARY_HSTS_SECONDS", default=0)
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS of subdomains: the domain's owner decides, not one service below it
    "security.W021",  # HSTS preload lists: likewise
    "security.W008",  # the redirect to https: the proxy does it; here it would break health checks
    "security.W004",  # HSTS: W045 has the name of this service's setting
    *("security.W012", "security.W016"),  # secure cookies: they depend on the base URL, which W040 checks
]

INSTALLED_APPS = [
    "bursary.lib.admin.SiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "bursary.api",  # before rest_framework, so that its templates take precedence
    "rest_framework",
    "django_filters",
    "django_htmx",
    "corsheaders",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "bursary.replica",
    "bursary.budgets",
    "bursary.access",
    "bursary.assignments",
    "bursary.delivery",
    "bursary.events",
    "bursary.dashboard",
    "bursary.ops",
    "bursary.config",
]

MIDDLEWARE = [
    "bursary.config.proxies.client_address",
    "bursary.config.heads.without_body",
    "corsheaders.middleware.CorsMiddleware",  # before those that answer errors, which clients read, too
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "bursary.config.policies.restricted",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "bursary.config.lockouts.too_many_attempts",
]

CORS_ALLOWED_ORIGINS = CLIENT_ORIGINS
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/(api|csrf)/"
CORS_ALLOW_HEADERS = (*default_headers, "use-jwt-cookie", "idempotency-key")
CORS_EXPOSE_HEADERS = ("Content-Disposition", "Link", "Retry-After")

ROOT_URLCONF = "bursary.config.urls"
WSGI_APPLICATION = "bursary.config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "bursary.dashboard.shell.context",
            ]
        },
    }
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "access.User"
SESSION_ENGINE = "bursary.access.sessions"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"bursary.access.passwords.{name}"} for name in ("NotSimilarToUser", "LongEnough", "NotCommon")
]
PASSWORD_RESET_TIMEOUT = 3 * 60 * 60  # seconds: a mail server may delay the mail
AUTHENTICATION_BACKENDS = [
    "bursary.access.sign_in_limits.LimitedBackend",
    "django.contrib.auth.backends.ModelBackend",  # for sessions from before LimitedBackend
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
CSRF_FAILURE_VIEW = "bursary.config.error_pages.csrf_failure"

# The first is the language of mails, and of pages if the browser accepts none of them.
_LANGUAGES = env.list("BURSARY_LANGUAGES", default=["en"])
if _unknown := [code for code in _LANGUAGES if code.split("-")[0] not in LANG_INFO]:
    raise ImproperlyConfigured(
        f"BURSARY_LANGUAGES names no language: {', '.join(_unknown)}. Give codes such as en,de."
    )
LANGUAGE_CODE = _LANGUAGES[0]
LANGUAGES = [(code, LANG_INFO.get(code, {}).get("name_local", code)) for code in _LANGUAGES]
LOCALE_PATHS = [VAR_DIR / "locale", PACKAGE_DIR / "locale"]  # the first overrides the second
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "bursary.config.formats"

MESSAGE_TAGS = {messages.ERROR: "danger"}  # the style sheet's word

STATIC_URL = "static/"
# Static files are served from the packages, without `collectstatic`.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024  # bytes: more than 10,000 addresses of 254 characters

# -- Database -----------------------------------------------------------------------------------------------

DATABASES = {
    "default": database_config("BURSARY_DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'bursary.sqlite3'}"),
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        # A transaction takes the write lock when it begins. Readers are never blocked.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds
        # secure_delete overwrites deleted data, because an erased address must not stay in free pages.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60  # seconds
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Without it, a request waits minutes for a server that does not respond. The URL may set another value.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)  # seconds
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    with suppress(ImportError):  # then Django reports the missing driver
        import pymysql

        pymysql.install_as_MySQLdb()
    DATABASES["default"]["OPTIONS"] |= {
        "charset": "utf8mb4",
        "isolation_level": "read committed",  # decision 0016
        # Values that do not fit are refused. Locks are waited for 20 s, as on SQLite. MariaDB rewrites EXISTS
        # as IN, and then refuses some of these as not supported (error 1235).
        "init_command": "SET SESSION sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = 20"
        "/*M! , optimizer_switch = 'exists_to_in=off' */",
    }
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_nopad_bin"}

# -- Cache: one for each process, used only with BURSARY_CONTENT_READS=upstream ------------------------------

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},  # about 2 kB each
    }
}

# -- Links in mails ------------------------------------------------------------------------------------------

LINK_AGE = timedelta(days=whole_number("BURSARY_LINK_DAYS", default=14))

# -- Content (decision 0003) --------------------------------------------------------------------------------

CATALOG_URL = url("BURSARY_CATALOG_URL", default=f"file://{VAR_DIR / 'catalog'}/")
OAUTH_URL = url("BURSARY_OAUTH_URL").rstrip("/")
OAUTH_CLIENT_ID = env.str("BURSARY_OAUTH_CLIENT_ID", default="")
OAUTH_CLIENT_SECRET = env.str("BURSARY_OAUTH_CLIENT_SECRET", default="")
UPSTREAM_DEADLINE = timedelta(seconds=whole_number("BURSARY_UPSTREAM_DEADLINE_SECONDS", default=10))
CONTENT_FRESH_FOR = timedelta(hours=whole_number("BURSARY_CONTENT_FRESH_HOURS", default=6))
# How long content is fresh after a fetch. The first that applies is used: gone, inactive, soon, ordinary.
CONTENT_FRESHNESS = {
    "ordinary": CONTENT_FRESH_FOR,
    "depended_on": min(CONTENT_FRESH_FOR, timedelta(hours=1)),  # by an open assignment
    "soon": min(CONTENT_FRESH_FOR, timedelta(hours=1)),  # the course or one of its runs starts or closes
    "inactive": max(CONTENT_FRESH_FOR, timedelta(hours=24)),
    "gone": max(CONTENT_FRESH_FOR, timedelta(hours=24)),
    "absent": timedelta(minutes=10),  # a key that upstream does not know
    "cached": timedelta(minutes=5),  # an answer of upstream, in the read mode `upstream`
    "listing": timedelta(hours=24),  # a catalog as a whole
}
CONTENT_SOON = timedelta(days=7)
CONTENT_READS = env.str("BURSARY_CONTENT_READS", default="replica")  # replica | shadow | upstream
CONTENT_READ_DEADLINE = timedelta(seconds=number("BURSARY_CONTENT_READ_SECONDS", default=2))
CONTENT_FETCH_DEADLINE = timedelta(seconds=whole_number("BURSARY_CONTENT_FETCH_SECONDS", default=30))
# Longer than any fetch, so that two processes never refresh the same content.
CONTENT_LEASE = CONTENT_FETCH_DEADLINE * 3 + timedelta(seconds=60)

# -- Courses ------------------------------------------------------------------------------------------------

COURSEWARE_URL = url("BURSARY_COURSEWARE_URL")  # https://learning.example.org/course/{run}/home

# -- Delivery -----------------------------------------------------------------------------------------------

EXECUTOR = env.str("BURSARY_EXECUTOR", default="thread")  # thread | celery | none
CLOCK = env.str("BURSARY_CLOCK", default="celery" if EXECUTOR == "celery" else "thread")  # or none
BROKER_URL = url("BURSARY_BROKER_URL")
SEND_DEADLINE = timedelta(seconds=whole_number("BURSARY_SEND_DEADLINE_SECONDS", default=60))
# Longer than any send, so that two workers never send the same mail (bursary.E001).
LEASE = SEND_DEADLINE * 3 + timedelta(seconds=60)

RUNNER_THREADS = whole_number("BURSARY_RUNNER_THREADS", default=2)  # of each process of the server
SENDS_PER_MINUTE = whole_number("BURSARY_SENDS_PER_MINUTE", default=0)  # of all processes; 0: no limit
OPERATOR_CONTACT = env.str("BURSARY_OPERATOR_CONTACT", default="")  # an address, as pages show it

MAIL_PROVIDER = ""
EMAIL_CONFIG = email_config("BURSARY_EMAIL_URL", default=f"filemail:///{quote(str(VAR_DIR / 'mail'))}")
vars().update(EMAIL_CONFIG)
if EMAIL_CONFIG["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
    EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"  # Django's, with a total deadline
if EMAIL_CONFIG["EMAIL_BACKEND"] == "django.core.mail.backends.filebased.EmailBackend":
    EMAIL_BACKEND = "bursary.delivery.file_backend.FileEmailBackend"  # a file for each mail
EMAIL_TIMEOUT = whole_number("BURSARY_EMAIL_TIMEOUT_SECONDS", default=5)  # for each answer of the mail server
DEFAULT_FROM_EMAIL = env.str("BURSARY_FROM_EMAIL", default="Bursary <bursary@localhost>").strip()

ANYMAIL: dict[str, Any] = {
    # The mail is sent even if the provider does not support tags or custom headers.
    "IGNORE_UNSUPPORTED_FEATURES": True,
    "REQUESTS_TIMEOUT": (EMAIL_TIMEOUT, SEND_DEADLINE.total_seconds()),  # to connect, to answer
    **{
        name.removeprefix(PROVIDERS_PREFIX): value
        for name, value in os.environ.items()
        if name.startswith(PROVIDERS_PREFIX) and value
    },
}

# -- Events from other services -----------------------------------------------------------------------------

EVENT_BUS_URL = url("BURSARY_EVENT_BUS_URL")
EVENT_BUS_PREFIX = env.str("BURSARY_EVENT_BUS_PREFIX", default="")
EVENT_GROUP = env.str("BURSARY_EVENT_GROUP", default="bursary")
# A constant name, so that a restarted consumer receives the events that it had not acknowledged.
EVENT_CONSUMER = env.str("BURSARY_EVENT_CONSUMER", default="bursary")
WEBHOOK_SECRETS = env.list("BURSARY_WEBHOOK_SECRETS", default=[])

# -- Sign-in with tokens of Open edX: an issuer, an audience and one of three sources of keys ----------------

JWT_ISSUER = env.str("BURSARY_JWT_ISSUER", default="")
JWT_AUDIENCE = env.str("BURSARY_JWT_AUDIENCE", default="")
JWT_JWK_SET_URL = url("BURSARY_JWT_JWK_SET_URL")
JWT_JWK_SET = env.str("BURSARY_JWT_JWK_SET", default="")
JWT_SECRET = env.str("BURSARY_JWT_SECRET", default="")  # for development
JWT_COOKIE = env.str("BURSARY_JWT_COOKIE", default="edx-jwt-cookie")

# -- API ----------------------------------------------------------------------------------------------------

# For each API key, or each user without a key; 0: no limit.
POSTS_PER_MINUTE = whole_number("BURSARY_POSTS_PER_MINUTE", default=1200)  # in all processes together
GETS_PER_MINUTE = whole_number("BURSARY_GETS_PER_MINUTE", default=6000)  # in each process

REST_FRAMEWORK = {
    # API keys first, so that a request without credentials is answered 401 with a challenge, not 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "bursary.api.authentication.ApiKeyAuthentication",
        "bursary.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["bursary.api.throttling.RateLimit"],
    "DEFAULT_PARSER_CLASSES": ["bursary.api.inputs.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "bursary.api.rendering.FastJSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_SCHEMA_CLASS": "bursary.api.schema.Schema",
    "EXCEPTION_HANDLER": "bursary.api.refusals.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Bursary",
    "DESCRIPTION": "Assigns learning content to learners, within a budget, and can always say what happened.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    # No components for choices: several fields with the same name have different choices.
    "POSTPROCESSING_HOOKS": ["bursary.api.schema.with_tags"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v[0-9]",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# -- Retention: how long data is kept before the task `retention` deletes it ---------------------------------

KEEP_MAILS = timedelta(days=whole_number("BURSARY_KEEP_MAILS_DAYS", default=365))
KEEP_ATTEMPTS = timedelta(days=whole_number("BURSARY_KEEP_ATTEMPTS_DAYS", default=365))
KEEP_CHANGES = timedelta(days=whole_number("BURSARY_KEEP_CHANGES_DAYS", default=730))
KEEP_EXPORTS = timedelta(days=whole_number("BURSARY_KEEP_EXPORTS_DAYS", default=365))
# An event is repeated within minutes, or refused because of its age.
KEEP_EVENTS = timedelta(days=whole_number("BURSARY_KEEP_EVENTS_DAYS", default=30))
KEEP_ANSWERS = timedelta(days=whole_number("BURSARY_KEEP_ANSWERS_DAYS", default=1))

# -- Metrics ------------------------------------------------------------------------------------------------

METRICS_TOKEN = env.str("BURSARY_METRICS_TOKEN", default="")  # without it, /metrics answers 404

# -- Logs ---------------------------------------------------------------------------------------------------

LOG_LEVEL = env.str("BURSARY_LOG_LEVEL", default="WARNING").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    raise ImproperlyConfigured(f"BURSARY_LOG_LEVEL is {LOG_LEVEL!r}: use DEBUG, INFO, WARNING or ERROR")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "class": "bursary.lib.logs.Formatter",  # masks the tokens of signed links
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # It warns of every retry; the final outcome is logged elsewhere.
    "loggers": {"stamina": {"level": "ERROR"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
}
