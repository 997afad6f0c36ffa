"""Tokens of the API."""

from __future__ import annotations

from django.db import transaction
from knox.models import AuthToken

from campaigns.errors import NotAllowed
from campaigns.models import User


@transaction.atomic
def create(*, user: User) -> str:
    """Make a token for somebody who has just given the password; returned once, kept as a hash.

    Raises NotAllowed when the password was changed or the account switched off meanwhile: that ends tokens, and this
    one would come too late to be ended.
    """
    now = User.objects.select_for_update().get(pk=user.pk)
    if now.password != user.password or not now.is_active:
        raise NotAllowed("The password was changed a moment ago; sign in with the new one.")
    _, token = AuthToken.objects.create(user)
    return str(token)
