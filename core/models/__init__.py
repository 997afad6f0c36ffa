"""People and brands, the events of all apps, stored responses and notices."""

from core.models.brands import Brand, Membership, User
from core.models.events import Event, SealedEvent
from core.models.notices import Notice
from core.models.responses import StoredResponse

__all__ = ["Brand", "Event", "Membership", "Notice", "SealedEvent", "StoredResponse", "User"]
