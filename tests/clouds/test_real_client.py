"""A client that we did not write pulls from the emulated ECR and from a real registry behind the gateway."""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.clients.process import run_well
from tests.clouds.clouds import clouds
from tests.clouds.hub.sites import DOCKER_HUB
from tests.clouds.images import make_image, make_index, push_to_registry
from tests.clouds.scene import ACCOUNT, REGION, set_scene

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("skopeo", "docker-registry"))), reason="skopeo or docker-registry is missing"
)


async def test_skopeo_copies_what_was_pushed(tmp_path: Path) -> None:
    async with clouds(tmp_path / "clouds") as world:
        scene = set_scene(world)
        index = make_index("multi", 200_000, 10)
        docker = make_image("docker", 1000, is_docker=True)
        world.ecr(ACCOUNT, REGION, "team/app").push(index, "1")
        registry = world.registry("harbor.example.test", is_protected=True)
        assert registry.auth is not None
        await push_to_registry(registry, "team/docker", docker, "1")
        auths = {
            scene.host: world.aws.issue_token(scene.role_arn, REGION),
            registry.host: base64.b64encode(":".join(registry.auth).encode()).decode(),
        }
        auth_file = tmp_path / "auth.json"
        auth_file.write_text(json.dumps({"auths": {host: {"auth": auth} for host, auth in auths.items()}}))
        environment = {**world.environment, "SSL_CERT_FILE": str(world.ca_bundle)}

        for source, image in (
            (f"{scene.host}/team/app:1", index),
            (f"{registry.host}/team/docker:1", docker),
        ):
            target = tmp_path / image.digest
            command = ["skopeo", "copy", "--all", "--retry-times", "0", "--src-authfile", str(auth_file)]
            await run_well([*command, f"docker://{source}", f"dir:{target}"], environment=environment)
            manifest = (target / "manifest.json").read_bytes()
            assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == image.digest
            for digest, blob in image.blobs.items():
                assert (target / digest.removeprefix("sha256:")).read_bytes() == blob

        assert world.log.count(service="s3", status="200") == 6
        assert not any(entry.has_authorization for entry in world.log.entries(service="s3"))


async def test_skopeo_takes_docker_hubs_token_dance(tmp_path: Path) -> None:
    async with clouds(tmp_path / "clouds") as world:
        public, private = make_image("public", 1000), make_image("private", 1000)
        login = world.hub.add_account(DOCKER_HUB.host, "vreg")
        world.hub_repository(DOCKER_HUB.host, "library/alpine").push(public, "1")
        world.hub_repository(DOCKER_HUB.host, "acme/app", is_public=False, readers=("vreg",)).push(
            private, "1"
        )
        pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        auth_file = tmp_path / "auth.json"
        auth_file.write_text(json.dumps({"auths": {"docker.io": {"auth": pair}}}))
        environment = {**world.environment, "SSL_CERT_FILE": str(world.ca_bundle)}

        for source, image in (("docker.io/alpine:1", public), ("docker.io/acme/app:1", private)):
            target = tmp_path / image.digest
            command = ["skopeo", "copy", "--retry-times", "0", "--src-authfile", str(auth_file)]
            await run_well([*command, f"docker://{source}", f"dir:{target}"], environment=environment)
            assert (target / "manifest.json").read_bytes() == image.manifest

        assert world.log.count(service="hub-cdn", status="200") == 4
        assert not any(entry.has_authorization for entry in world.log.entries(service="hub-cdn"))
