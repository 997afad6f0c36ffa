"""Made images: masters, assets, further rounds, duplicates, stale approvals, forgotten files."""
