"""Engines: plug-ins that make images. base.py has their interface and their registry."""
