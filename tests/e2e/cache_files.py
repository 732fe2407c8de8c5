"""What a running proxy has committed to its cache, looked at from outside."""

import hashlib
from pathlib import Path

from tests.e2e.scene import Scene


def assert_committed_rightly(stage: Scene, digest: str) -> None:
    """Fail unless this sha256 blob is committed, and every committed file holds what its name says."""
    content = stage.stack.home / "proxy" / "cache" / "content" / "sha256"
    files = [path for path in content.rglob("*") if path.is_file()]
    assert digest.removeprefix("sha256:") in {file.name for file in files}
    assert [file.name for file in files if _sha256(file) != file.name] == []


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
