"""Endpoints, their workflows and the local models: set up, checked and changed."""
