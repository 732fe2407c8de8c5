"""Health: from what exchanges, probes and pulls met, to one state an upstream; told, and never decisive."""
