"""The destination "http": a service that a small YAML describes, for the CMS that has no plug-in of its own."""
