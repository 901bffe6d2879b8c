"""Every setting of Ratepayer, read from the environment; ``.env.example`` says what each variable is for.

Three profiles: **production** (the default: https, no simulators), **demo** (``DEMO=1``: simulators and plain http on
this machine) and **development** (``DEBUG=1``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from kombu import Exchange, Queue

from config import environment

BASE_DIR = environment.ROOT
VAR = BASE_DIR / "var"

# --- Profile ---------------------------------------------------------------------------------------------------------

DEBUG = environment.flag("DEBUG", default=False)
DEMO = environment.flag("DEMO", default=False)
PRODUCTION = not (DEBUG or DEMO)

PUBLIC_URL = environment.public_url("PUBLIC_URL", None if PRODUCTION else "http://127.0.0.1:8000")
SECURE = PUBLIC_URL.startswith("https://")
if PRODUCTION and not SECURE:
    raise ImproperlyConfigured("PUBLIC_URL must be https:// in production. DEMO=1 allows http for a demonstration.")

if DEMO and SECURE:
    raise ImproperlyConfigured(
        "DEMO=1 turns on simulators and open doors: it is for http on one machine, not for https."
    )

SECRET_KEY = environment.text("SECRET_KEY")
SECRET_KEY_FALLBACKS = environment.words("SECRET_KEY_FALLBACKS")
KEYSET = environment.keyset("RATEPAYER_KEYSET")

ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS") or [urlsplit(PUBLIC_URL).hostname or ""]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
# How many proxies of ours stand in front; each adds one address to X-Forwarded-For and nobody else's is believed.
PROXIES = environment.integer("PROXIES", 0, least=0, most=5)

# --- What there is ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "config",
    "sms",
    "payments",
    "datapump",
    "billing",
    "config.administration.Administration",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django.forms",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "axes",
    "csp",
    "django_htmx",
    "django_celery_beat",
    "heroicons",
]

MIDDLEWARE = [
    "billing.middleware.CallersAddress",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.middleware.Answers",
    "config.middleware.Verbs",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "billing.middleware.NothingInScope",
    "django.contrib.messages.middleware.MessageMiddleware",
    "billing.sessions.TimeOut",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "billing.branding.frame",
            ],
        },
    }
]
FORM_RENDERER = "billing.forms.Renderer"

# --- PostgreSQL ------------------------------------------------------------------------------------------------------

# The application's role owns nothing and row security applies to it; config.database tells PostgreSQL which billers
# are in scope. The owner's role is for migrations alone, so only whoever migrates needs DATABASE_OWNER_URL.
_APPLICATION = environment.database("DATABASE_URL")
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "config.database",
        **_APPLICATION,
        "CONN_MAX_AGE": 300,
        "CONN_HEALTH_CHECKS": True,
        # Nothing of ours waits for a network inside a transaction: one that sits idle is a mistake and must free its
        # locks.
        "OPTIONS": {**_APPLICATION["OPTIONS"], "options": "-c idle_in_transaction_session_timeout=300000"},
    },
}
if environment.text("DATABASE_OWNER_URL", ""):
    _OWNER = environment.database("DATABASE_OWNER_URL")
    DATABASES["owner"] = {
        "ENGINE": "django.db.backends.postgresql",
        **_OWNER,
        "OPTIONS": {**_OWNER["OPTIONS"], "options": "-c app.billers=*"},
    }

# --- Valkey: wake-ups and cache; the rows in PostgreSQL are the queue ------------------------------------------------

REDIS_URL = environment.redis("REDIS_URL")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "cache"}
}

CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# The docs ask for one visibility time-out everywhere; twice the longest task, so that no live task is handed out again.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 600,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "global_keyprefix": environment.text("CELERY_KEY_PREFIX", "celery:"),
}
CELERY_VISIBILITY_TIMEOUT = 600
# What may last for minutes has a queue of its own, so that a worker can be kept for the rest (docs/operating.md). A worker
# that is told nothing takes from both in turn.
CELERY_TASK_QUEUES = [Queue(name, Exchange(name), routing_key=name) for name in ("celery", "long")]
CELERY_TASK_ROUTES = {
    task: {"queue": "long"}
    for task in (
        "billing.tasks.load_invoice_file",
        "billing.tasks.withdraw_invoice_file",
        "payments.tasks.read_response_files",
        "payments.tasks.read_returns",
        "payments.tasks.work_run",
    )
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_TASK_TIME_LIMIT = 240
CELERY_TASK_SOFT_TIME_LIMIT = 200
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_DB_REUSE_MAX = 1000
CELERY_BEAT_SCHEDULER = "config.beat:Scheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5

# --- People ----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "billing.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SECURE else "http"
ALLAUTH_TRUSTED_PROXY_COUNT = PROXIES
ACCOUNT_ADAPTER = "billing.sign_ins.SignIns"
MFA_ADAPTER = "billing.second_factors.SealedFactors"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Ratepayer"
# Whoever copies a code from the demonstration's page may be half a minute late.
MFA_TOTP_TOLERANCE = 1 if DEMO else 0

AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=30)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_FORM_FIELD = "login"
AXES_RESET_ON_SUCCESS = True
AXES_IPWARE_PROXY_COUNT = PROXIES or None
AXES_VERBOSE = False

# --- Browsers --------------------------------------------------------------------------------------------------------

# Where card fields come from: the processor's own pages in a frame, so that a card number never reaches this server.
PROCESSOR_ORIGINS = environment.origins("PROCESSOR_ORIGINS")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "frame-src": [SELF, *PROCESSOR_ORIGINS],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_SSL_REDIRECT = SECURE
# A load balancer asks over plain http.
SECURE_REDIRECT_EXEMPT = [r"^health$"]
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PROXIES else None

SESSION_COOKIE_NAME = "__Host-session" if SECURE else "session"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
# Minutes without a page, and in all, after which people are signed out: those who may see a biller's accounts, and payers.
SESSION_IDLE_MINUTES = {
    "staff": environment.integer("STAFF_IDLE_MINUTES", 30, least=1, most=720),
    "payer": environment.integer("PAYER_IDLE_MINUTES", 30, least=1, most=720),
}
SESSION_MOST_MINUTES = {
    "staff": environment.integer("STAFF_SESSION_MINUTES", 720, least=1, most=720),
    "payer": environment.integer("PAYER_SESSION_MINUTES", 720, least=1, most=720),
}
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE else "csrf"
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = SECURE
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"

# --- Language, time --------------------------------------------------------------------------------------------------

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("es", _("Spanish"))]
LOCALE_PATHS = [BASE_DIR / "locale"]

# --- Files -----------------------------------------------------------------------------------------------------------

# Stylesheet, scripts and pictures of Tabler; its libs directory holds software that is not free and stays out.
_TABLER = BASE_DIR / "node_modules" / "@tabler" / "core" / "dist"
STATIC_URL = "/static/"
STATIC_ROOT = environment.path("STATIC_ROOT", VAR / "static")
STATICFILES_DIRS = [BASE_DIR / "static", *[(f"tabler/{part}", _TABLER / part) for part in ("css", "js", "img")]]
# Tests and development serve the sources; everything else what collectstatic gathered, under names that hold a hash.
STATIC_COLLECTED = environment.flag("STATIC_COLLECTED", default=not DEBUG)
WHITENOISE_USE_FINDERS = not STATIC_COLLECTED
WHITENOISE_AUTOREFRESH = DEBUG

STORAGE = environment.path("STORAGE", VAR / "storage")
DROP_FOLDER = environment.path("DROP_FOLDER", VAR / "drop")
# What was said to and by processors, and for how many days (PAY-13). Not below STORAGE, of which logos are served.
TRANSMISSIONS = environment.path("TRANSMISSIONS", VAR / "transmissions")
TRANSMISSION_DAYS = environment.integer("TRANSMISSION_DAYS", 30, least=1, most=3650)
MEDIA_ROOT = STORAGE
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": STORAGE}},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        if STATIC_COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
FILE_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 << 20
FILE_UPLOAD_PERMISSIONS = 0o600

# --- Mail ------------------------------------------------------------------------------------------------------------

vars().update(environment.email("EMAIL_URL", "smtp+plain://localhost" if PRODUCTION else f"file:{VAR / 'mail'}"))
DEFAULT_FROM_EMAIL = environment.text("EMAIL_FROM", "Ratepayer <billing@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- API -------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_SCHEMA_CLASS": "billing.api.schema.ScopedSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": ["billing.api.authentication.BearerKey"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "EXCEPTION_HANDLER": "billing.api.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    "COERCE_DECIMAL_TO_STRING": True,
    "NUM_PROXIES": PROXIES,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Ratepayer",
    "DESCRIPTION": "Customers, invoices, payments, methods, enrolments and DataPump records of one biller, whose key a "
    "machine shows. docs/api.md tells how to begin.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1/",
    "ENUM_NAME_OVERRIDES": {
        "CustomerStatus": "billing.models.CustomerStatus",
        "LinkKind": "billing.models.LinkKind",
        "InvoiceFileState": "billing.models.FileState",
        "MessageState": "billing.models.NoticeState",
        "MessageKind": "billing.models.NoticeKind",
        "MessageChannel": "billing.models.NoticeChannel",
        "PaymentChannel": "payments.api.payments.CHANNEL_NAMES",
        "CloudPaymentState": "payments.api.cloud_payments.STATES",
        "PaymentState": "payments.models.PaymentState",
        "AllocationState": "payments.models.AllocationState",
        "InstrumentState": "payments.models.InstrumentState",
        "InstrumentKind": "payments.models.InstrumentKind",
        "RecordState": "datapump.models.RecordState",
        "TextState": "sms.models.TextState",
        "PayByTextState": "sms.api.enrolments.STATES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "billing.api.schema.describe_refusals",
    ],
}

# --- Simulators (DEMO only) ------------------------------------------------------------------------------------------

SIMULATED_PROCESSOR_URL = environment.text("SIMULATED_PROCESSOR_URL", "") if not PRODUCTION else ""
SIMULATED_CIS_URL = environment.text("SIMULATED_CIS_URL", "") if not PRODUCTION else ""
SIMULATED_RECEIVER_URL = environment.text("SIMULATED_RECEIVER_URL", "") if not PRODUCTION else ""
SIMULATOR_SECRET = environment.text("SIMULATOR_SECRET", "") if not PRODUCTION else ""
SIMULATED_TELEPHONE_URL = environment.text("SIMULATED_TELEPHONE_URL", "") if not PRODUCTION else ""
SIMULATED_TELEPHONE_SECRET = environment.text("SIMULATED_TELEPHONE_SECRET", "") if not PRODUCTION else ""
SIMULATED_TELEPHONE_CONTROL_SECRET = (
    environment.text("SIMULATED_TELEPHONE_CONTROL_SECRET", "") if not PRODUCTION else ""
)

# --- DataPump ----------------------------------------------------------------------------------------------------------

# Private networks in which billers' systems stand, such as 10.8.0.0/16: beside the public ones, the only ones called.
DATAPUMP_NETWORKS = environment.words("DATAPUMP_NETWORKS")

# --- Logs ------------------------------------------------------------------------------------------------------------

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "masked": {
            "()": "config.logs.MaskingFormatter",
            "format": "{asctime} {levelname} {name} {message}",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "masked"}},
    "root": {"handlers": ["stderr"], "level": environment.text("LOG_LEVEL", "INFO")},
    "loggers": {"django": {"handlers": [], "level": "INFO", "propagate": True}},
}
