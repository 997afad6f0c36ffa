"""Checks: what a machine can see in the pixels before a person looks. Pure; knows no models."""
