"""Jobs at remote services: submissions, webhooks, limits, and submissions of which nobody knows what became."""
