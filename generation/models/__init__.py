"""The models of generation: endpoints, runs, jobs, and the assets that they make."""

from generation.models.assets import Asset, AssetVersion, Finding, Master, Rendition
from generation.models.comparisons import Comparison, ComparisonColumn, ComparisonVote
from generation.models.counts import ANY_CHECK, AssetCount, AssetProblem
from generation.models.endpoints import Endpoint, EndpointStatus, LocalModel
from generation.models.inputs import PinnedInputs, StaleAsset, StaleCandidate
from generation.models.jobs import Attempt, Job, JobMove, JobSpec, LaneShare, LedgerEntry, Worker
from generation.models.provenance import MarkedFile
from generation.models.runs import Cell, Run, ScheduledRun, ScheduledSubject

__all__ = [
    "ANY_CHECK", "Asset", "AssetCount", "AssetProblem", "AssetVersion", "Attempt", "Cell", "Comparison",
    "ComparisonColumn", "ComparisonVote", "Endpoint", "EndpointStatus", "Finding", "Job", "JobMove", "JobSpec",
    "LaneShare", "LedgerEntry", "LocalModel", "MarkedFile", "Master", "PinnedInputs", "Rendition", "Run",
    "ScheduledRun", "ScheduledSubject", "StaleAsset", "StaleCandidate", "Worker",
]  # fmt: skip
