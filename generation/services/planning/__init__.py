"""From a wish to planned jobs: previews, prices, templates, fingerprints, scheduled runs."""
