"""The audit archive: every event exactly once, chained, to be read, followed, exported and verified."""
