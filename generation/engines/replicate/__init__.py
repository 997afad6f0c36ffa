"""Replicate, and Cog servers."""
