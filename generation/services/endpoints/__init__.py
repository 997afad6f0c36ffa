"""Set up, check and change endpoints, their workflows and the local models."""
