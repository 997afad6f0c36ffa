"""Disclaimers that must stand beside an image ("demo model"), for queries that load no versions; those read
`version.caution`."""

from django.db.models.functions import Coalesce

#: Of an asset's current version: what the endpoint that made it says, its run's where a person made it.
OF_ASSET = Coalesce("current_version__job__endpoint__caution", "cell__run__endpoint__caution")
