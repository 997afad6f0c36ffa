"""OpenAI's images API and the services with the same API."""
