"""Sign a person in with the form."""

from __future__ import annotations

from typing import Any

from core.models import User
from tests.support import factories


def sign_in(page: Any, site: str, user: User) -> None:
    """Sign in; afterwards the page shows, or is loading, what follows. site: the address of the live server."""
    page.goto(f"{site}/accounts/login/")
    page.fill("#id_login", user.username)
    page.fill("#id_password", factories.PASSWORD)
    page.click("button.primary")
