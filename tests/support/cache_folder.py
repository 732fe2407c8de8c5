"""A cache folder with any number of worker processes, and the upstream that they share."""

import random
from pathlib import Path

from tests.support.cache_worker import HOME, UNLIMITED, USUAL, CacheWorker
from vreg_proxy.cache import Limits, Rhythm
from vreg_proxy.cache.fill_record import FillFiles, has_followers
from vreg_shared.oci.digest import Digest


class CacheFolder:
    """The folder, its upstream, and the workers started so far."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache"
        self.upstream = folder / "upstream"
        self.upstream.mkdir()
        self.workers: list[CacheWorker] = []
        self.random = random.Random(7)  # noqa: S311 - only has to be repeatable

    def start(self, limits: Limits = UNLIMITED, rhythm: Rhythm = USUAL) -> CacheWorker:
        worker = CacheWorker(self.root, self.upstream, limits, rhythm)
        self.workers.append(worker)
        return worker

    def blob(self, name: str, size: int) -> Digest:
        content = self.random.randbytes(size)
        (self.upstream / name).write_bytes(content)
        return Digest.of(content)

    def asked(self, start: str = "") -> list[str]:
        path = self.upstream / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(start)]

    def hold(self, position: int) -> None:
        fresh = self.upstream / "hold.new"
        fresh.write_text(str(position))
        fresh.rename(self.upstream / "hold")

    def release(self) -> None:
        (self.upstream / "hold").unlink()

    def filled(self, digest: Digest) -> int:
        part = FillFiles.of(self.root / "filling", digest, HOME).part
        return part.stat().st_size if part.exists() else 0

    def is_followed(self, digest: Digest) -> bool:
        return has_followers(FillFiles.of(self.root / "filling", digest, HOME).part)

    def left_over(self) -> list[str]:
        return [path.name for path in (self.root / "filling").iterdir()]

    async def stop(self) -> None:
        for worker in self.workers:
            await worker.stop()

    def bad_content(self) -> list[str]:
        files = [path for path in (self.root / "content").rglob("*") if path.is_file()]
        return [path.name for path in files if Digest.of(path.read_bytes()).hex != path.name]
