"""The `vreg` command: runs everything on one machine; a client of the API."""
