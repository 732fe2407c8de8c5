"""Upstreams: the remote registries we may pull from."""
