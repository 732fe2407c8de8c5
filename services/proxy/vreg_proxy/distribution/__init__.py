"""The `/v2/` surface: what clients ask, and how they are answered."""
