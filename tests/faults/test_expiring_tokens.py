"""F01: tokens that end while layers drip in, some of which break off after that. Clients notice nothing.

F02, ends of tokens under load, is `make endurance`.
"""

import asyncio
import json
from pathlib import Path

import pytest

from tests.clouds.docker_registry import DockerRegistry
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.e2e.scene import PLACES, scene
from tests.faults.edition import amount
from tests.faults.figures import tell

PLACE = PLACES[0]
TOKEN_SECONDS = amount(6, 3)
DRIP_SECONDS = 10
LAYERS = amount(4, 30)
SIZE = 200_000


async def test_tokens_end_in_the_middle_of_layers_and_nobody_notices(tmp_path: Path) -> None:
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed; tests/install-tools installs it")
    async with scene(tmp_path, workers=2) as stage:
        stage.clouds.aws.set_token_life(TOKEN_SECONDS)
        await stage.set_up()
        image = make_image("dripped", *[SIZE] * LAYERS)
        stage.push_to_ecr(PLACE, image, "dripped")
        for number, layer in enumerate(image.layers):
            path = stage.clouds.aws.blob_path(PLACE.account, PLACE.region, PLACE.repository, layer)
            rate = SIZE // DRIP_SECONDS
            stage.clouds.faults.add(
                Fault(Harm.DRIP, times=None, service="s3", path=path, bytes_per_second=rate)
            )
            if number % 2:
                late = int(SIZE * 0.9)
                stage.clouds.faults.add(Fault(Harm.RESET, service="s3", path=path, after_bytes=late))
        async with stage.puller() as puller:
            repository = f"demo/{PLACE.repository}"
            body, digest = await puller.manifest(repository, "dripped")
            layers = [layer["digest"] for layer in json.loads(body)["layers"]]
            sizes = await asyncio.gather(*(puller.blob(repository, layer) for layer in layers))
        exchanges = stage.clouds.log.count(operation="GetAuthorizationToken", status="200")
        rejected = stage.clouds.log.count(service="ecr", status="403")
        resumed = [entry for entry in stage.clouds.log.entries(service="s3", method="GET") if entry.range]
    assert digest == image.digest
    assert sizes == [len(image.blobs[layer]) for layer in layers]
    assert len(resumed) == LAYERS // 2, "half of the layers broke off, long after the first token ended"
    tell("F01", f"{LAYERS} layers over {DRIP_SECONDS} s, tokens of {TOKEN_SECONDS} s: failed pulls", 0, "0")
    tell("F01", "answers to clients that were 401 or 403", 0, "0")
    tell("F01", f"of the cloud to us, in {exchanges} exchanges", rejected, "few")
