"""Generated images: masters, assets, further rounds, duplicates, stale approvals, leftover files."""
