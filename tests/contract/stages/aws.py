"""AWS for the contract kit: a role for each applicant, trusted in each of the ways there are."""

from dataclasses import replace
from typing import Any, cast

from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.model import Federation
from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.clouds import Clouds
from tests.clouds.images import make_image
from tests.clouds.scene import ACCOUNT, BROKER_ACCOUNT, OTHER_ACCOUNT, OTHER_REGION, REGION
from tests.contract.machine import container_on_aws, instance_on_aws, machine_role
from tests.contract.stage import Applicant, Prepared, Stage
from vreg_shared.auth_method import AuthMethod
from vreg_shared.providers.aws import AwsUsableFor
from vreg_shared.providers.aws.auth_methods import (
    AccessKey,
    AssumeRole,
    Container,
    Instance,
    RoleChain,
    WebIdentity,
)
from vreg_shared.secret import Secret

_AUDIENCE = "sts.amazonaws.com"
_PLACES = {
    "aws.access_key": (ACCOUNT, REGION),
    "aws.assume_role": (ACCOUNT, OTHER_REGION),
    "aws.web_identity": (OTHER_ACCOUNT, REGION),
    "aws.container": (OTHER_ACCOUNT, OTHER_REGION),
    "aws.instance": (ACCOUNT, REGION),
}
"""Two accounts, two regions, and each account by two methods or more."""
_STEPS = {
    "aws.access_key": ("ecr-api",),
    "aws.assume_role": ("sts", "ecr-api"),
    "aws.web_identity": ("sts", "ecr-api"),
    "aws.container": ("aws-container", "sts", "ecr-api"),
    "aws.instance": ("aws-instance", "sts", "ecr-api"),
}


class AwsStage:
    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds
        self._aws = clouds.aws
        self._applicant, self._account = Applicant("", "", "", ""), ACCOUNT
        self._applicants: dict[str, Applicant] = {}
        self._made = 0

    def prepare(self, tag: str, applicant: Applicant) -> Prepared:
        name = applicant.identity_id.lower()
        self._applicant = self._applicants[f"team/{name}"] = applicant
        self._account, region = _PLACES[tag]
        repository = self._clouds.ecr(self._account, region, f"team/{name}")
        method, environment, secrets = self._method(tag)
        return Prepared(
            method=method,
            usable_for=AwsUsableFor(accounts=(self._account,)),
            kind="ecr",
            host=self._aws.host(self._account, region),
            repository=repository.name,
            tag="1",
            digest=repository.push(make_image(name), "1"),
            environment=environment,
            services=_STEPS[tag],
            secrets=secrets,
        )

    def push(self, prepared: Prepared, seed: str, tag: str) -> str:
        account, region = _PLACES[prepared.method.tag]
        return self._clouds.ecr(account, region, prepared.repository).push(make_image(seed), tag)

    def granted(self) -> int:
        return self._clouds.log.count(operation="GetAuthorizationToken", status="200")

    def set_life(self, seconds: float) -> None:
        self._aws.set_token_life(seconds)

    def end_credentials(self) -> None:
        self._aws.expire_tokens()

    def refuse(self, prepared: Prepared) -> None:
        """Keys are deleted, and roles trust nobody any more."""
        method = prepared.method
        if isinstance(method, AccessKey | AssumeRole):
            self._aws.delete_key(method.access_key_id)
        else:
            self._aws.delete_role(cast("RoleChain", method).role_arns[0])

    def replace(self, prepared: Prepared) -> Prepared:
        method = prepared.method
        self._applicant, (self._account, _) = self._applicants[prepared.repository], _PLACES[method.tag]
        if isinstance(method, AccessKey | AssumeRole):
            key = self._aws.rotate_key(method.access_key_id)
            renewed: AuthMethod = method.model_copy(update=_key(key))
            secrets = (*prepared.secrets, key.secret_access_key)
        else:
            trusts, federations = self._trust(cast("RoleChain", method))
            renewed = method.model_copy(update={"role_arn": self._role(trusts, federations)})
            secrets = prepared.secrets
        self.refuse(prepared)
        return replace(prepared, method=renewed, secrets=secrets)

    def _method(self, tag: str) -> tuple[AuthMethod, dict[str, str], tuple[str, ...]]:
        if tag == "aws.access_key":
            key = self._aws.add_user(self._account, self._name(), allow=may_pull())
            return AccessKey(**_key(key)), {}, (key.secret_access_key,)
        if tag == "aws.assume_role":
            key = self._aws.add_user(BROKER_ACCOUNT, self._name(), allow=may_assume("*"))
            return AssumeRole(**_key(key), role_arn=self._role((key.arn,))), {}, (key.secret_access_key,)
        if tag == "aws.web_identity":
            self._aws.add_oidc_provider(self._account, self._applicant.issuer_url, audiences=(_AUDIENCE,))
            return WebIdentity(role_arn=self._role((), self._federations())), {}, ()
        return self._ambient(tag)

    def _ambient(self, tag: str) -> tuple[AuthMethod, dict[str, str], tuple[str, ...]]:
        role = self._role((machine_role(self._clouds),))
        if tag == "aws.instance":
            return Instance(role_arn=role), instance_on_aws(self._clouds), ()
        environment = container_on_aws(self._clouds)
        return Container(role_arn=role), environment, (environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"],)

    def _role(self, trusts: tuple[str, ...], federations: tuple[Federation, ...] = ()) -> str:
        self._made += 1
        return self._aws.add_role(
            self._account,
            f"pull-{self._name()}-{self._made}",
            trusts=trusts,
            external_id=None if federations else self._applicant.external_id,
            allow=may_pull(),
            federations=federations,
        )

    def _trust(self, method: RoleChain) -> tuple[tuple[str, ...], tuple[Federation, ...]]:
        """Return whom the next role trusts: the same as the one before."""
        if isinstance(method, WebIdentity):
            return (), self._federations()
        return (machine_role(self._clouds),), ()

    def _federations(self) -> tuple[Federation, ...]:
        return (Federation(self._applicant.issuer_url, _AUDIENCE, self._applicant.subject),)

    def _name(self) -> str:
        return self._applicant.identity_id.lower()


def stage(clouds: Clouds) -> Stage:
    return AwsStage(clouds)


def _key(key: MadeKey) -> dict[str, Any]:
    return {"access_key_id": key.access_key_id, "secret_access_key": Secret(key.secret_access_key)}
