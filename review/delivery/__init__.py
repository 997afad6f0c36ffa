"""Destinations: plug-ins that deliver approved files, one kind per class."""
