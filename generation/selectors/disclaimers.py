"""Disclaimers that must stand beside an image ("demo model"), for queries that load no versions.

Code that has a version reads `version.disclaimer`.
"""

from django.db.models.functions import Coalesce

#: The disclaimer of an asset's current version: that of the endpoint that made it, or of its run's endpoint where a
#: person made it.
OF_ASSET = Coalesce("current_version__job__endpoint__disclaimer", "cell__run__endpoint__disclaimer")
#: The same for a version.
OF_VERSION = Coalesce("job__endpoint__disclaimer", "asset__cell__run__endpoint__disclaimer")
