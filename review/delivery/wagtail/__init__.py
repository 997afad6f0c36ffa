"""Deliver images to Wagtail sites, through the API v3 of Wagtail 8."""
