"""Tokens of the API."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _
from knox.models import AuthToken

from core.errors import NotAllowed
from core.models import User


@transaction.atomic
def create(*, user: User) -> str:
    """Create a token for a person who has just entered the password. Only its hash is stored.

    Raises NotAllowed if the password was changed or the account disabled meanwhile: that deletes all tokens, and this
    one would be created too late to be deleted.
    """
    now = User.objects.select_for_update().get(pk=user.pk)
    if now.password != user.password or not now.is_active:
        raise NotAllowed(_("The password was changed a moment ago; sign in with the new one."))
    return str(AuthToken.objects.create(user)[1])
