"""Deliver images to a space of Contentful, through its Content Management API."""
