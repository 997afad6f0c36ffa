"""What was made: masters, assets, further rounds, duplicates, stale approvals, forgotten files."""
