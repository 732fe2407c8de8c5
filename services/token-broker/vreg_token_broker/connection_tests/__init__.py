"""Connection tests: what the broker tries itself, and what it lets a proxy try."""
