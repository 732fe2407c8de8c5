"""Toy Cloud for the contract kit."""

import secrets
from dataclasses import replace
from typing import cast

from tests.clouds.toy.cloud import ToyControl
from vreg_shared.providers.toy import ToyKey, ToyUsableFor

from tests.clouds.clouds import Clouds
from tests.clouds.images import Image, make_image, store
from tests.contract.stage import Applicant, Prepared, Stage
from vreg_shared.secret import Secret

_REGISTRY = "team"


class ToyStage:
    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds
        self._control = clouds.control(ToyControl, "toy")

    def prepare(self, tag: str, applicant: Applicant) -> Prepared:
        assert tag == "toy.key"
        account = "".join(chr(ord("a") + ord(each) % 26) for each in applicant.identity_id[-16:])
        repository = applicant.identity_id.lower()
        self._control.set_readers(_REGISTRY, (account,))
        return Prepared(
            method=self._method(account),
            usable_for=ToyUsableFor(registries=(_REGISTRY,)),
            kind="toy",
            host=f"{_REGISTRY}.registry.toy.example.test",
            repository=repository,
            tag="1",
            digest=self._put(repository, repository, "1"),
            services=("toy-iam",),
        )

    def push(self, prepared: Prepared, seed: str, tag: str) -> str:
        return self._put(prepared.repository, seed, tag)

    def set_life(self, seconds: float) -> None:
        self._control.set_life(seconds)

    def granted(self) -> int:
        return self._clouds.log.count(service="toy-iam", status="200")

    def end_credentials(self) -> None:
        self._control.end_tokens()

    def refuse(self, prepared: Prepared) -> None:
        self._control.set_key(cast("ToyKey", prepared.method).account, secrets.token_urlsafe(32))

    def replace(self, prepared: Prepared) -> Prepared:
        return replace(prepared, method=self._method(cast("ToyKey", prepared.method).account))

    def _put(self, repository: str, seed: str, tag: str) -> str:
        def put(digest: str, image: Image, name: str | None) -> None:
            place = (_REGISTRY, repository)
            self._control.put_manifest(place, digest, image.media_type, tuple(image.blobs), name)

        return store(make_image(seed), self._clouds.content, put, tag)

    def _method(self, account: str) -> ToyKey:
        key = secrets.token_urlsafe(32)
        self._control.set_key(account, key)
        return ToyKey(account=account, key=Secret(key))


def stage(clouds: Clouds) -> Stage:
    return ToyStage(clouds)
