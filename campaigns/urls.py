"""Addresses of the campaigns pages."""

urlpatterns: list = []
