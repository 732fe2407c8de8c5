"""What nobody has pulled yet, beside the same pull straight from the upstream."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from tests.bench.curl import Downloads, download
from tests.bench.figures import Figure
from tests.bench.ground import BLOB_BYTES, FAR_HOST, FAR_SLUG, GIGABIT_SLUG, MIB, SLUG, Ground
from tests.bench.memory import watched
from tests.bench.upstream import REPOSITORY
from tests.clients.credentials import write_auth_file
from tests.clients.process import run_well
from tests.clouds.images import make_image
from tests.support.wait import eventually

_ROUNDS = 3
_MANY = 200
_FAR_SECONDS = 0.05
"""A round trip."""
_FAR_REPOSITORY = "team/far"
_LAYERS = 40
_LAYER_BYTES = 64 * 1024
_FIRST_BYTE_GRACE = 0.005


async def few(ground: Ground) -> AsyncIterator[Figure]:
    """One client and eight, against one direct pull."""
    direct: list[Downloads] = []
    for clients, bound in ((1, 1.2), (8, 2.5)):
        for figure in await _pulled(ground, clients, bound, direct):
            yield figure
    async for figure in _at_a_gigabit(ground):
        yield figure


async def many(ground: Ground) -> AsyncIterator[Figure]:
    """Two hundred clients, and what they cost in memory."""
    for size in (50 * MIB, BLOB_BYTES):
        for figure in await _many(ground, size):
            yield figure


async def far(ground: Ground) -> AsyncIterator[Figure]:
    """Pull images of many layers from an upstream far away with skopeo: directly, and through vreg."""
    ground.clouds.hub_repository(FAR_HOST, _FAR_REPOSITORY)
    ground.wire.delay = _FAR_SECONDS / 2
    folder = ground.stack.home.with_name("skopeo")
    auth_file = write_auth_file(folder / "auth.json", ground.stack.proxy, ground.token)
    await _pull_far(ground, folder, auth_file, "first", is_direct=False)  # the registry token is ready now
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_ROUNDS):
        for is_direct in (True, False):
            taken = await _pull_far(ground, folder, auth_file, f"{number}-{is_direct}", is_direct=is_direct)
            seconds[is_direct].append(taken)
    ground.wire.delay = 0
    case = f"cold image of {_LAYERS} layers, upstream {_FAR_SECONDS * 1000:.0f} ms away, skopeo"
    direct, through = median(seconds[True]), median(seconds[False])
    yield Figure(case, "seconds", through, "direct", direct, ("<=", 0.9))


async def _at_a_gigabit(ground: Ground) -> AsyncIterator[Figure]:
    """One client, where not the processors but the network decides."""
    through, direct = [], []
    for _ in range(_ROUNDS):
        blob = await ground.new_blob_at_a_gigabit()
        there = f"{ground.files.tls_url}/v2/{REPOSITORY}/blobs/{blob}"
        direct.append(await download(there, BLOB_BYTES, ca=ground.certificate.ca))
        through.append(await _through(ground, blob, BLOB_BYTES, 1, GIGABIT_SLUG))
    case = "cold 256 MiB blob, 1 client, upstream at 125 MB/s"
    seconds, theirs = (median(each.seconds for each in some) for some in (through, direct))
    yield Figure(case, "seconds", seconds, "direct", theirs, ("<=", 1.2))
    yield _first_byte(case, through, direct)


def _first_byte(case: str, through: list[Downloads], direct: list[Downloads]) -> Figure:
    ours, theirs = (median(each.first_byte for each in some) for some in (through, direct))
    allowed = 1.1 * theirs + _FIRST_BYTE_GRACE
    return Figure(case, "ms to first byte", ours * 1000, "1.1 x direct + 5", allowed * 1000, ("<=", 1))


async def _pulled(ground: Ground, clients: int, bound: float, direct: list[Downloads]) -> list[Figure]:
    """Let clients pull through vreg, and one directly."""
    case = f"cold 256 MiB blob, {clients} client{'s' * (clients > 1)}"
    through, bytes_each = [], []
    for _ in range(_ROUNDS):
        blob = await ground.new_blob()
        direct.append(await _directly(ground, blob))
        sent = ground.upstream.sent(blob)
        through.append(await _through(ground, blob, BLOB_BYTES, clients))
        bytes_each.append((await _sent_at_last(ground, blob, sent)) / BLOB_BYTES)
    seconds, theirs = (median(each.seconds for each in some) for some in (through, direct))
    figures = [
        Figure(case, "seconds", seconds, "one direct pull", theirs, ("<=", bound)),
        Figure(case, "upstream bytes, times the blob", max(bytes_each), wanted=("<=", 1)),
    ]
    if clients == 1:
        figures.append(_first_byte(case, through, direct))
    return figures


async def _many(ground: Ground, size: int) -> list[Figure]:
    case = f"cold {size // MIB} MiB blob, {_MANY} clients"
    blob = await ground.new_blob(size)
    before = ground.upstream.sent(blob)
    with watched(ground.workers) as growth:
        done = await _through(ground, blob, size, _MANY)
    sent = await _sent_at_last(ground, blob, before)
    return [
        Figure(case, "seconds", done.seconds),
        Figure(case, "upstream bytes, times the blob", sent / size, wanted=("<=", 1)),
        Figure(case, "MiB a worker grew by", growth.mebibytes, wanted=("<=", 64)),
    ]


async def _directly(ground: Ground, blob: str) -> Downloads:
    return await download(ground.upstream.blob_url(blob), BLOB_BYTES, ca=ground.certificate.ca)


async def _through(ground: Ground, blob: str, size: int, clients: int, slug: str = SLUG) -> Downloads:
    url = ground.url(f"blobs/{blob}", slug=slug)
    return await download(url, size, clients=clients, headers=[ground.authorization])


async def _sent_at_last(ground: Ground, blob: str, before: int) -> int:
    """Return what the upstream sent; its log has a line once its connection is done."""
    await eventually(lambda: ground.upstream.sent(blob) > before)
    return ground.upstream.sent(blob) - before


async def _pull_far(ground: Ground, folder: Path, auth_file: Path, tag: str, *, is_direct: bool) -> float:
    layers = 1 if tag == "first" else _LAYERS
    image = make_image(f"far-{tag}", *[_LAYER_BYTES] * layers)
    ground.clouds.hub_repository(FAR_HOST, _FAR_REPOSITORY).push(image, tag)
    host = FAR_HOST if is_direct else f"{ground.stack.proxy}/{FAR_SLUG}"
    environment = {
        "HTTPS_PROXY": f"http://127.0.0.1:{ground.wire.port}",
        "NO_PROXY": "127.0.0.1",
        "SSL_CERT_FILE": str(ground.clouds.ca_bundle),
    }
    login = ("--src-no-creds",) if is_direct else ("--src-tls-verify=false", "--src-authfile", str(auth_file))
    target = folder / tag
    loop = asyncio.get_running_loop()
    began = loop.time()
    await run_well(
        ["skopeo", "copy", *login, f"docker://{host}/{_FAR_REPOSITORY}:{tag}", f"oci:{target}"],
        environment=environment,
    )
    taken = loop.time() - began
    shutil.rmtree(target)
    return taken
