"""Jobs at remote services: submissions, webhooks, limits and uncertain submissions."""
