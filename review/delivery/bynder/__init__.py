"""Deliver images to a Bynder portal, through its API."""
