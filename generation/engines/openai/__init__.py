"""OpenAI's images API and the services that speak it."""
