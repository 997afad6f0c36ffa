"""Queued jobs: who claims them, what became of them, where they go next."""
