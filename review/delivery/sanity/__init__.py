"""Deliver images to a dataset of Sanity, through its HTTP API."""
