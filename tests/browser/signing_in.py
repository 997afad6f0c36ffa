"""Signs a person in with the form, as people do."""

from __future__ import annotations

from typing import Any

from core.models import User
from tests.support import factories


def sign_in(page: Any, site: str, user: User) -> None:
    """site: the address of the live server. The page shows what follows a sign-in, or is on its way there."""
    page.goto(f"{site}/accounts/login/")
    page.fill("#id_login", user.username)
    page.fill("#id_password", factories.PASSWORD)
    page.click("button.primary")
