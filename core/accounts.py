"""Signing in: an admin makes accounts, wrong passwords are limited, and e-mail addresses are verified.

The limits slow guessing but lock nobody out. Wrong passwords are counted in Redis per account and address together,
more strictly while somebody guesses widely, and apart for a browser that signed in before. Reasons: docs/adr/0017.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.account.views import EmailView
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from core import rate_limits
from core.models import User

BROWSER_COOKIE = "proofline_browser"
BROWSER_SECONDS = 365 * 24 * 3600
PAIR_LIMIT = (5, 300)  # (attempts, seconds) of one account from one address, or from one remembered browser
SLOWED_TRIES = 1
ACCOUNT_LIMIT = (50, 3600)
ADDRESS_LIMIT = (20, 60)


class AccountAdapter(DefaultAccountAdapter):
    """Closed sign-up, our own limits on wrong passwords, and the client's address behind trusted proxies."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str) -> bool:
        """Return True if a redirect to `url` is safe; False also for an invalid address."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:  # allauth parses the URL before Django checks it
            return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """Check a password; a wrong one counts. Raises ValidationError with `wait_seconds` if no attempt is left."""
        login = str(credentials.get("username") or credentials.get("email") or "").strip()
        user = _find_account(login)
        account = f"user {user.pk}" if user else f"name {login[:200].lower()}"
        browser = _browser_token(request, user) if user else ""
        try:
            attempt = count_attempt(account=account, address=client_address(request), browser=browser)
        except TooManyAttempts as refusal:
            error: ValidationError = self.validation_error("too_many_login_attempts")
            error.wait_seconds = refusal.wait_seconds  # type: ignore[attr-defined]
            raise error from None
        authenticated = super().authenticate(request, **credentials)
        if user and authenticated and not _is_login_of(authenticated, login):
            # An account that only claims the address has the same password, and allauth looked at it first.
            named = {"username": user.username, "password": credentials.get("password")}
            authenticated = super().authenticate(request, **named)
        if authenticated is None or not _is_login_of(authenticated, login):
            return None
        uncount(attempt)
        return authenticated

    def post_login(self, request: HttpRequest, user: Any, **options: Any) -> HttpResponse:
        """Remember the browser, so that guesses by strangers elsewhere do not slow its owner down."""
        response = super().post_login(request, user, **options)
        response.set_signed_cookie(
            BROWSER_COOKIE,
            f"{user.pk}:{_password_fingerprint(user)}:{secrets.token_urlsafe(16)}",
            max_age=BROWSER_SECONDS,
            httponly=True,
            samesite="Lax",
            secure=settings.SESSION_COOKIE_SECURE,
        )
        return response


class VerifiedEmailView(EmailView):
    """allauth's page of a person's e-mail addresses; an address is not used before it is verified."""

    def form_valid(self, form: Any) -> HttpResponse:
        if not settings.PROOFLINE["mails_notices"]:
            form.add_error("email", _("No mail is sent from here, so an address cannot be proved. Ask the operator."))
            return self.form_invalid(form)
        return super().form_valid(form)

    def _action_primary(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        address = self._get_email_address(request)
        if address is not None and not address.verified:
            sentence = _("Prove %(address)s first: open the link in the mail that was sent to it.")
            messages.error(request, sentence % {"address": address.email})
            return None
        return super()._action_primary(request, *args, **kwargs)


def client_address(request: HttpRequest) -> str:
    """Return the last of X-Forwarded-For that is no trusted proxy; of IPv6 its network (/64), which is one person's."""
    trusted = [ipaddress.ip_network(text) for text in settings.PROOFLINE["trusted_proxies"]]
    hops = request.headers.get("X-Forwarded-For", "").split(",") if trusted else []
    address = _parsed(request.META.get("REMOTE_ADDR") or (hops.pop() if hops else ""))
    while hops and address and any(address in network for network in trusted):
        hop = _parsed(hops.pop())
        if hop is None:
            break
        address = hop
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network(f"{address}/64", strict=False).network_address)
    return str(address or "unknown")


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _find_account(login: str) -> User | None:
    """Return the account of a user name, or of an address that is verified or was entered by the operator."""
    if not login:
        return None
    user = User.objects.filter(username=login).first()
    user = user or User.objects.filter(username__iexact=login).order_by("pk").first()
    if user is None and "@" in login:
        proved = EmailAddress.objects.filter(email__iexact=login, verified=True).select_related("user").first()
        user = proved.user if proved else User.objects.filter(email__iexact=login).order_by("pk").first()
    return user


def _is_login_of(user: Any, login: str) -> bool:
    """Return True if the login is the user name, the account's address, or a verified address of the user."""
    verified = EmailAddress.objects.filter(user=user, email__iexact=login, verified=True)
    return login.lower() in {user.username.lower(), user.email.lower()} or verified.exists()


def _browser_token(request: HttpRequest, user: User) -> str:
    """Return the name of the browser if the account has signed in there with its current password, else ""."""
    try:
        value = str(request.get_signed_cookie(BROWSER_COOKIE, default="", max_age=BROWSER_SECONDS))
    except (AttributeError, BadSignature):
        return ""
    pk, _colon, rest = value.partition(":")
    proof, _colon, name = rest.partition(":")
    return name if pk == str(user.pk) and constant_time_compare(proof, _password_fingerprint(user)) else ""


def _password_fingerprint(user: User) -> str:
    """Return a value that changes with the password."""
    return str(user.get_session_auth_hash())[:20]


class TooManyAttempts(Exception):
    """No attempt is left; the next one is allowed in `wait_seconds`."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"try again in {wait_seconds} s")
        self.wait_seconds = wait_seconds


def count_attempt(*, account: str, address: str, browser: str = "") -> list[str]:
    """Count one attempt and return its keys, for `uncount`. Raises TooManyAttempts. browser: one used before, or ""."""
    key = _key("browser", account, browser) if browser else _key("pair", account, address)
    tries = rate_limits.count(key, PAIR_LIMIT[1])
    if tries > PAIR_LIMIT[0]:
        raise TooManyAttempts(rate_limits.get_remaining(key, PAIR_LIMIT[1]))
    wider = {} if browser else {_key("account", account): ACCOUNT_LIMIT, _key("address", address): ADDRESS_LIMIT}
    counts = {wider_key: rate_limits.count(wider_key, seconds) for wider_key, (_, seconds) in wider.items()}
    is_slowed = any(counts[wider_key] > most for wider_key, (most, _) in wider.items())
    if is_slowed and tries > SLOWED_TRIES:
        uncount(wider)  # an attempt that was not made must not count
        raise TooManyAttempts(rate_limits.get_remaining(key, PAIR_LIMIT[1]))
    return [key, *wider]


def uncount(keys: Iterable[str]) -> None:
    """Remove an attempt from the counts, because the password was right."""
    for key in keys:
        rate_limits.uncount(key)


def _key(kind: str, *parts: str) -> str:
    return rate_limits.make_key(f"sign-in:{kind}", *parts)
