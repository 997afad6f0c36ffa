"""Generated images: assets, further rounds, duplicates, stale approvals, leftover files."""
