"""Settings of all processes. Settings of an installation come from the environment (docs/operations.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import django_stubs_ext

from config import embedded, env

django_stubs_ext.monkeypatch()  # makes ModelForm[Campaign] and similar classes work at run time

VAR = env.var_dir()

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.text("SECRET_KEY") or embedded.ensure_secret("secret_key", size=50)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1],testserver")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
SITE_URL = env.text("SITE_URL", "http://127.0.0.1:8000")

INSTALLED_APPS = [
    "config.operators.OperatorAdminConfig",  # django.contrib.admin, for superusers only
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "knox",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "django_rq",
    "core",
    "campaigns",
    "generation",
    "review",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "config.middleware.keep_private",
    "config.middleware.StorableInputMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "config.middleware.DomainErrorMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "core.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [env.ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.navigation",
            ],
        },
    },
]

DATABASES = {"default": dj_database_url.parse(embedded.database_url(), conn_max_age=60, conn_health_checks=True)}
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 10)  # seconds; then the response is 503
DATABASES["default"]["OPTIONS"] |= {"options": "-c idle_in_transaction_session_timeout=30s"}

RQ_QUEUES = {
    lane: {"URL": embedded.redis_url(), "SERIALIZER": "rq.serializers.JSONSerializer", "DEFAULT_TIMEOUT": 600}
    for lane in ("gpu", "cloud", "cpu", "delivery", "io", "housekeeping")
}

MEDIA_ROOT = Path(env.text("PROOFLINE_FILES", str(VAR / "files")))
MEDIA_URL = "files/"
STATIC_URL = "static/"
STATIC_ROOT = VAR / "static"
STATICFILES_DIRS = [env.ROOT / "static"]
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
if _bucket := env.text("S3_BUCKET"):
    _options = {"bucket_name": _bucket, "endpoint_url": env.text("S3_ENDPOINT_URL") or None}
    STORAGES["default"] = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": _options}
if env.flag("PROOFLINE_PLAIN_STATIC", default=DEBUG):
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "core.accounts.AccountAdapter"
ACCOUNT_RATE_LIMITS = {"login": None, "login_failed": None}  # ours are in core/accounts.py
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
globals().update(env.tls(SITE_URL))
CSRF_FAILURE_VIEW = "config.errors.csrf_failure"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'self'"],
        "object-src": ["'none'"],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "knox.auth.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PAGINATION_CLASS": "core.api.inputs.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PARSER_CLASSES": [
        "core.api.inputs.JSONParser",
        "core.api.inputs.FormParser",
        "core.api.inputs.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.RequestNames",
    "EXCEPTION_HANDLER": "core.api.problems.handle_exception",
    "PAGE_SIZE": 50,
}
REST_KNOX = {"TOKEN_TTL": None}
SPECTACULAR_SETTINGS = {
    "TITLE": "Proofline API",
    "VERSION": "1",
    "DESCRIPTION": "From a product feed to approved, delivered images.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,  # requests differ from responses: files, secrets, read-only fields
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "core.api.schema.add_refusals"],
    "ENUM_NAME_OVERRIDES": {
        "Outcome": "generation.choices.Outcome",
        "RunState": "generation.choices.RunState",
        "AssetState": "generation.choices.AssetState",
        "TaskState": "review.choices.TaskState",
        "UsableState": "review.api.pull_serializers.USABLE_STATES",
        "DeliveryState": "review.api.delivery_serializers.STATES",
        "DecisionKind": "review.choices.DecisionKind",
        "SourceKind": "campaigns.choices.SourceKind",
        "SubjectKind": "campaigns.choices.SubjectKind",
        "ImportStatus": "campaigns.choices.ImportStatus",
        "MessageState": "review.choices.MessageState",
        "WebhookEvent": "review.choices.WebhookEvent",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

_EMAIL_URL = env.text("EMAIL_URL")
globals().update(env.mail(_EMAIL_URL))
EMAIL_TIMEOUT = 10  # so that nobody waits long for a server that is away
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", f"Proofline <proofline@{urlsplit(SITE_URL).hostname}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]  # texts are marked for translation; a language is added here with its catalogue
TIME_ZONE = env.text("TIME_ZONE", "UTC")

PROOFLINE: dict[str, Any] = {
    "lease_seconds": env.number("PROOFLINE_LEASE_SECONDS", 60),
    "storage_seconds": env.number("PROOFLINE_STORAGE_SECONDS", 600),
    "slice_seconds": env.number("PROOFLINE_SLICE_SECONDS", 30),
    "undo_seconds": env.number("PROOFLINE_UNDO_SECONDS", 30),
    "secret_keys": env.words("PROOFLINE_SECRET_KEYS"),  # the first encrypts, all decrypt
    "remote_threads": env.number("PROOFLINE_REMOTE_THREADS", 32),  # calls to services at the same time, per worker
    "plugins": env.words("PROOFLINE_PLUGINS"),
    "claim_minutes": env.number("PROOFLINE_CLAIM_MINUTES", 10),
    "handover_folders": env.words("PROOFLINE_HANDOVER_FOLDERS", str(VAR / "approved")),  # deliveries stay below
    "private_sources": env.networks("PROOFLINE_PRIVATE_SOURCES"),  # private networks for feeds and photos
    "source_ports": env.ports("PROOFLINE_SOURCE_PORTS"),  # besides 80 and 443
    "trusted_proxies": env.networks("PROOFLINE_TRUSTED_PROXIES"),  # proxies whose X-Forwarded-For is trusted
    "web_threads": env.number("WEB_THREADS", 8),
    "mails_notices": bool(_EMAIL_URL),
    "allow_private_webhooks": env.flag("PROOFLINE_ALLOW_PRIVATE_WEBHOOKS"),  # receivers in a private network
}

#: Who signs the Content Credentials of delivered files: see docs/provenance.md.
PROVENANCE: dict[str, str] = {
    "certificate": env.text("PROOFLINE_C2PA_CERTIFICATE"),  # PEM or a path: the signer's, then its issuers'
    "key": env.text("PROOFLINE_C2PA_KEY"),  # PEM (PKCS 8) or a path
    "signer": env.text("PROOFLINE_C2PA_SIGNER"),  # a function bytes -> bytes instead, such as "company.kms.sign"
    "algorithm": env.text("PROOFLINE_C2PA_ALGORITHM", "es256"),
    "time_stamp_url": env.text("PROOFLINE_C2PA_TIME_STAMP_URL"),
    "anchors": env.text("PROOFLINE_C2PA_ANCHORS"),  # PEM or a path: roots that are trusted when files are verified
    "folder": str(VAR / "provenance"),  # keeps the self-made certificate, which is used without another one
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.formatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # The database already records each call to a service; paramiko writes tracebacks of connections that broke off.
    "loggers": {"httpx": {"level": "WARNING"}, "paramiko": {"level": "CRITICAL"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
}
