"""Queued jobs: claims, outcomes, retries and routing."""
