"""The token broker: the only process that talks to a cloud's IAM, and the owner of every exchange."""
