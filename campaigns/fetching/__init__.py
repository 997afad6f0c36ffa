"""One guarded way out: everything that fetches or posts to an address which a person gave goes through here.

Addresses are read strictly, looked up once, checked, and connected to as checked; sizes and times are bounded.
Pure: no Django, no models. What an installation allows comes in as a Policy.
"""

from campaigns.fetching.addresses import ANYWHERE, is_public
from campaigns.fetching.fetcher import Fetched, fetch
from campaigns.fetching.policy import PUBLIC, Policy, Refused, Resolver
from campaigns.fetching.posting import Answer, post
from campaigns.fetching.resolving import check
from campaigns.fetching.showing import entered, plain, shown, shown_settings, without_secrets
from campaigns.fetching.urls import Target, parse

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
