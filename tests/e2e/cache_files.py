"""What a running proxy has committed to its cache, looked at from outside."""

import hashlib
from pathlib import Path

from tests.e2e.scene import Scene
from tests.support.wait import eventually


async def is_committed_rightly(stage: Scene, digest: str) -> None:
    """Fail unless this sha256 blob comes to be committed, and every such file holds what its name says."""
    content = stage.stack.home / "proxy" / "cache" / "content" / "sha256"
    name = digest.removeprefix("sha256:")
    await eventually((content / name[:2] / name).is_file)  # a pull may end before its bytes have their name
    files = [path for path in content.rglob("*") if path.is_file()]
    assert [file.name for file in files if _sha256(file) != file.name] == []


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
