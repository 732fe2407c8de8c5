"""What crosses the bus: one file a subject, with its name, payload and version."""
