"""Deliver images to a ResourceSpace DAM, through its API."""
