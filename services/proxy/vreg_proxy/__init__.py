"""The proxy: the registry that clients pull from. It caches, and never talks to a cloud's IAM."""
