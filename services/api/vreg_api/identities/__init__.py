"""Identities: named ways to prove ourselves to a cloud."""
