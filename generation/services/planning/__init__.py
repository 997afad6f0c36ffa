"""From a request to planned jobs: previews, prices, templates, fingerprints, scheduled runs."""
