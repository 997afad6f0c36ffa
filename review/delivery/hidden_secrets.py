"""Hides the secret of a destination in texts that people read, in every form in which it may have been sent."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

_SHORTEST = 3  # characters of a secret that is hidden
_SHORTEST_PART = 8  # of one that was cut off at the end of a text, and of one word among others


class HiddenSecret:
    """secret: such as a token, "user:password", or several keys with blanks between them. A user's name is shown."""

    def __init__(self, secret: str) -> None:
        user, _colon, password = secret.partition(":")
        words = [word for word in password.split() if len(word) >= _SHORTEST_PART]
        logins = [secret, f"{user.strip()}:{password.strip()}"]
        plain = {secret, password, password.strip(), *words, *map(_in_base64, logins)} if secret else set[str]()
        forms = (str, quote, quote_plus, _quote_all, _in_json)
        written = {form(each) for each in plain if len(each) >= _SHORTEST for form in forms}
        self.forms = sorted(written, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return the text without the secret, also if the end of it was cut off."""
        for form in self.forms:
            text = text.replace(form, "…")
        for form in self.forms:
            for length in range(min(len(form) - 1, len(text)), _SHORTEST_PART - 1, -1):
                if text.rstrip(".…").endswith(form[:length]):
                    text = text.rstrip(".…")[:-length] + "…"
        return text


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="replace")).decode()


def _quote_all(text: str) -> str:
    return quote(text, safe="")


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]
