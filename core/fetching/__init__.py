"""One guarded way out: everything that fetches or posts to an address which a person gave goes through here.

Addresses are read strictly, looked up once, checked, and connected to as checked; sizes and times are bounded.
Pure: no Django, no models. What an installation allows comes in as a Policy.
"""

from core.fetching.addresses import ANYWHERE, is_public
from core.fetching.fetcher import Fetched, fetch
from core.fetching.policy import PUBLIC, Policy, Refused, Resolver
from core.fetching.posting import Answer, post
from core.fetching.resolving import check
from core.fetching.showing import entered, plain, shown, shown_settings, without_secrets
from core.fetching.urls import Target, parse

__all__ = [
    "ANYWHERE",
    "PUBLIC",
    "Answer",
    "Fetched",
    "Policy",
    "Refused",
    "Resolver",
    "Target",
    "check",
    "entered",
    "fetch",
    "is_public",
    "parse",
    "plain",
    "post",
    "shown",
    "shown_settings",
    "without_secrets",
]
