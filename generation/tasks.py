"""Functions that RQ calls. They take JSON scalars and are safe to run twice."""

from typing import Any

from core.models import User
from core.tasks import fresh_connections
from generation.models import Endpoint
from generation.services.endpoints import health, local_models


@fresh_connections()
def hash_model(model_id: int) -> str:
    """Compute the sha256 of a registered model's files."""
    return local_models.hash_content(model_id=model_id)


@fresh_connections()
def ask_endpoint(endpoint_id: int) -> dict[str, Any]:
    endpoint = Endpoint.objects.filter(pk=endpoint_id).first()
    return health.run_check(endpoint) if endpoint else {}


@fresh_connections()
def check_workflow(endpoint_id: int, user_id: int) -> dict[str, Any]:
    """Check an endpoint's workflow against its servers and return their answer."""
    endpoint = Endpoint.objects.filter(pk=endpoint_id).first()
    by = User.objects.filter(pk=user_id).first()
    return health.run_workflow_check(endpoint=endpoint, by=by) if endpoint and by else {}
