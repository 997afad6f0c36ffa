"""Finishing: from a master's pixels to the files that channels want. Pure; knows no models."""
