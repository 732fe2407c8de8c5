"""Health of upstreams and of virtual registries, as the broker tells it and as it was."""
