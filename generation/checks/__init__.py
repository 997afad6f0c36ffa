"""Automatic checks of the pixels before a person reviews an image. Pure; knows no models."""
