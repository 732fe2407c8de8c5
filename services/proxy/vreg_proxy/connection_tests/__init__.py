"""Connection tests, as far as a proxy's network tells: reaching the host, and pulling from it."""
