"""skopeo: copies an image into a folder, byte for byte."""

import hashlib
import shutil
from pathlib import Path

from tests.clients.process import run_well


class Skopeo:
    """Pulls into folders of its own; every pull is cold."""

    name = "skopeo"

    def __init__(self, folder: Path, auth_file: Path) -> None:
        self._folder = folder
        self._auth_file = auth_file
        self._pulls = 0

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("skopeo") is not None

    async def prepare(self) -> None:
        """Nothing has to run before a pull."""

    async def pull(self, image: str, *, deadline: float = 120) -> str:
        """Pull `host/repository:tag`; return the digest of the manifest it received."""
        self._pulls += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"pull-{self._pulls}"
        await run_well(
            [
                *("skopeo", "copy", "--all", "--retry-times", "0", "--src-tls-verify=false"),
                *("--src-authfile", str(self._auth_file), f"docker://{image}", f"dir:{target}"),
            ],
            deadline=deadline,
        )
        digest = hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest()
        shutil.rmtree(target)
        return f"sha256:{digest}"

    async def close(self) -> None:
        """Nothing runs between pulls."""
