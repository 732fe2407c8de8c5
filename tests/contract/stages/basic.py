"""Any OCI registry for the contract kit: a Quay of one's own, with a robot account for each applicant."""

from dataclasses import replace
from typing import cast

from tests.clouds.clouds import Clouds
from tests.clouds.hub.control import Login
from tests.clouds.hub.sites import QUAY
from tests.clouds.images import make_image
from tests.contract.stage import Applicant, Prepared, Stage
from vreg_shared.providers.basic import BasicUsableFor, Password
from vreg_shared.secret import Secret


class BasicStage:
    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds

    def prepare(self, tag: str, applicant: Applicant) -> Prepared:
        assert tag == "basic.password"
        name = applicant.identity_id.lower()
        login = self._clouds.hub.add_account(QUAY.host, f"robot${name}")
        repository = self._clouds.hub_repository(
            QUAY.host, f"team/{name}", is_public=False, readers=(login.username,)
        )
        return Prepared(
            method=_method(login),
            usable_for=BasicUsableFor(hosts=(QUAY.host,)),
            kind="oci",
            host=QUAY.host,
            repository=repository.name,
            tag="1",
            digest=repository.push(make_image(name), "1"),
        )

    def push(self, prepared: Prepared, seed: str, tag: str) -> str:
        login = cast("Password", prepared.method).username
        repository = self._clouds.hub_repository(
            QUAY.host, prepared.repository, is_public=False, readers=(login,)
        )
        return repository.push(make_image(seed), tag)

    def set_life(self, seconds: float) -> None:
        """Passwords do not end by themselves; what is got for them does."""
        self._clouds.hub.set_token_life(seconds)

    def granted(self) -> int:
        """Return 0: a password is given out by a person."""
        return 0

    def end_credentials(self) -> None:
        self._clouds.hub.expire_tokens()

    def refuse(self, prepared: Prepared) -> None:
        method = cast("Password", prepared.method)
        self._clouds.hub.revoke_password(QUAY.host, method.username, method.password.reveal())

    def replace(self, prepared: Prepared) -> Prepared:
        login = self._clouds.hub.add_password(QUAY.host, cast("Password", prepared.method).username)
        self.refuse(prepared)
        return replace(prepared, method=_method(login))


def stage(clouds: Clouds) -> Stage:
    return BasicStage(clouds)


def _method(login: Login) -> Password:
    return Password(username=login.username, password=Secret(login.password))
