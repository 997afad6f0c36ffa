"""The event types of the generation app. Past tense, dotted: "generation.object.happened"."""

from campaigns.events import Happening, declare


@declare
class VersionReady(Happening):
    """All candidates of one round of an asset are made and checked. object_id is the asset's.

    payload: {"round", "version_ids", "worst_outcome", "stage"}.
    """

    type = "generation.version.ready"
    object_type = "asset"
    needs_subscriber = True
