"""Virtual registries: ordered lists of upstreams served as one registry."""
