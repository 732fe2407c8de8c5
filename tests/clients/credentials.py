"""Client credentials in the file every container client reads, never in arguments."""

import base64
import json
from pathlib import Path


def write_auth_file(path: Path, registry: str, token: str, user: str = "vreg") -> Path:
    """Write docker's `config.json` for one registry (host and port); return `path`."""
    auth = base64.b64encode(f"{user}:{token}".encode()).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    path.chmod(0o600)
    return path
