"""Google for the contract kit: a repository for each applicant, and the one way in that its method is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tests.clouds.clouds import Clouds
from tests.clouds.gcp.control import MadeServiceKey
from tests.clouds.gcp.repository import GarImages
from tests.clouds.images import make_image
from tests.clouds.scene import BROKER_ACCOUNT
from tests.contract.machine import container_on_aws
from tests.contract.stage import Applicant, Prepared, Stage
from vreg_shared.auth_method import AuthMethod
from vreg_shared.providers.gcp.auth_methods import (
    AwsAccessKeyFederation,
    AwsFederation,
    Impersonation,
    Metadata,
    ServiceAccountKey,
    WorkloadIdentityFederation,
)
from vreg_shared.providers.gcp.usable_for import GcpUsableFor
from vreg_shared.secret import Secret

_PROJECT = "contract"
_PROJECT_NUMBER = "123456789012"
_REGION, _MULTI_REGION = "europe-west3", "us"
_AWS_ACCOUNT = "210987654321"
_DOMAIN = f"{_PROJECT}.iam.gserviceaccount.com"
_BROKER = f"broker@{_DOMAIN}"


@dataclass(frozen=True)
class _WayIn:
    """A method, who it makes us, and how to close it again."""

    method: AuthMethod
    member: str
    close: Callable[[], None]
    services: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


class GcpStage:
    """Opens ways in, one after the other, to the repository of one applicant."""

    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds
        self._gcp = clouds.gcp
        self._applicant: Applicant | None = None
        self._applicants: dict[str, Applicant] = {}
        self._opened = 0
        self._close: dict[AuthMethod, Callable[[], None]] = {}

    def prepare(self, tag: str, applicant: Applicant) -> Prepared:
        self._applicant = self._applicants[applicant.identity_id.lower()] = applicant
        way = self._open(tag)
        images = self._images(tag, (way.member,))
        return Prepared(
            method=way.method,
            usable_for=GcpUsableFor(projects=(_PROJECT,)),
            kind="gar",
            host=images.host,
            prefix=_PROJECT,
            repository=images.path.removeprefix(f"{_PROJECT}/"),
            tag="1",
            digest=images.push(make_image(applicant.identity_id), "1"),
            environment=way.environment,
            services=way.services,
            secrets=way.secrets,
        )

    def push(self, prepared: Prepared, seed: str, tag: str) -> str:
        path = f"{prepared.prefix}/{prepared.repository}"
        return GarImages(self._gcp, self._clouds.content, prepared.host, path).push(make_image(seed), tag)

    def granted(self) -> int:
        """Every climb begins with one token of these, whoever is impersonated after it."""
        count = self._clouds.log.count
        of_machine = count(service="gcp-metadata", path="*/token", status="200")
        return count(service="oauth2", status="200") + count(service="sts-google", status="200") + of_machine

    def set_life(self, seconds: float) -> None:
        self._gcp.set_token_life(seconds)

    def end_credentials(self) -> None:
        self._gcp.expire_tokens()

    def refuse(self, prepared: Prepared) -> None:
        self._close[prepared.method]()

    def replace(self, prepared: Prepared) -> Prepared:
        self.refuse(prepared)
        self._applicant = self._applicants[prepared.repository.partition("/")[0].removeprefix("r-")]
        way = self._open(prepared.method.tag)
        self._images(prepared.method.tag, (way.member,))
        return replace(prepared, method=way.method, environment=way.environment, secrets=way.secrets)

    def _open(self, tag: str) -> _WayIn:
        self._opened += 1
        ways = {
            "gcp.service_account_key": self._by_key,
            "gcp.impersonation": self._by_impersonation,
            "gcp.metadata": self._by_machine,
            "gcp.workload_identity_federation": self._by_token,
            "gcp.aws_federation": self._by_container,
            "gcp.aws_access_key_federation": self._by_access_key,
        }
        way = ways[tag]()
        self._close[way.method] = way.close
        return way

    def _by_key(self) -> _WayIn:
        email = self._account()
        key = self._gcp.add_key(email)
        method = ServiceAccountKey.model_validate(_fields(key))
        member = f"serviceAccount:{email}"
        return _WayIn(
            method,
            member,
            lambda: self._gcp.disable_key(email, key.private_key_id),
            ("oauth2",),
            secrets=_secrets(key),
        )

    def _by_impersonation(self) -> _WayIn:
        target, actor = self._account(), self._gcp.add_service_account(_BROKER)
        key = self._gcp.add_key(_BROKER)
        self._gcp.let_act(actor, target)
        return _WayIn(
            Impersonation.model_validate({**_fields(key), "impersonate": (target,)}),
            f"serviceAccount:{target}",
            lambda: self._gcp.stop_acting(actor, target),
            ("oauth2", "iamcredentials"),
            secrets=_secrets(key),
        )

    def _by_machine(self) -> _WayIn:
        target, actor = self._account(), self._gcp.add_service_account(_BROKER)
        self._gcp.set_machine(_BROKER)
        self._gcp.let_act(actor, target)
        return _WayIn(
            Metadata(impersonate=(target,)),
            f"serviceAccount:{target}",
            lambda: self._gcp.stop_acting(actor, target),
            ("gcp-metadata", "iamcredentials"),
            {"GCE_METADATA_HOST": self._clouds.local["gcp-metadata"].removeprefix("http://")},
        )

    def _by_token(self) -> _WayIn:
        assert self._applicant is not None
        pool = self._pool()
        name = self._gcp.add_oidc_provider(
            **pool, issuer=self._applicant.issuer_url, subjects=self._applicant.subject
        )
        return _WayIn(
            WorkloadIdentityFederation.model_validate(pool),
            f"{_principals(name)}/subject/{self._applicant.subject}",
            lambda: self._gcp.disable_provider(name),
            ("sts-google",),
        )

    def _by_container(self) -> _WayIn:
        pool = self._pool()
        name = self._gcp.add_aws_provider(**pool, account=BROKER_ACCOUNT)
        environment = container_on_aws(self._clouds)
        target = self._account()
        self._gcp.let_act(_principals(name, is_set=True) + "/*", target)
        method = AwsFederation.model_validate({**pool, "source": "container", "impersonate": (target,)})
        return _WayIn(
            method,
            f"serviceAccount:{target}",
            lambda: self._gcp.disable_provider(name),
            ("aws-container", "sts-google", "iamcredentials"),
            environment,
        )

    def _by_access_key(self) -> _WayIn:
        pool = self._pool()
        name = self._gcp.add_aws_provider(**pool, account=_AWS_ACCOUNT)
        user = self._clouds.aws.add_user(_AWS_ACCOUNT, f"vreg-{self._opened}")
        keys = {
            "access_key_id": user.access_key_id,
            "secret_access_key": Secret(user.secret_access_key),
        }
        return _WayIn(
            AwsAccessKeyFederation.model_validate({**pool, **keys}),
            f"{_principals(name)}/subject/{user.arn}",
            lambda: self._clouds.aws.delete_key(user.access_key_id),
            ("sts-google",),
            secrets=(user.secret_access_key,),
        )

    def _images(self, tag: str, readers: tuple[str, ...]) -> GarImages:
        location = _REGION if tag in {ServiceAccountKey.tag, Metadata.tag} else _MULTI_REGION
        return self._clouds.gar(_PROJECT, location, f"r-{self._name}", "app", readers=readers)

    def _account(self) -> str:
        """Make a service account of this applicant's own, for this way in."""
        email = f"{self._name}-{self._opened}@{_DOMAIN}"
        self._gcp.add_service_account(email)
        return email

    def _pool(self) -> dict[str, str]:
        return {
            "project_number": _PROJECT_NUMBER,
            "pool": f"p-{self._name}",
            "provider": f"vreg-{self._opened}",
        }

    @property
    def _name(self) -> str:
        assert self._applicant is not None
        return self._applicant.identity_id.lower()


def stage(clouds: Clouds) -> Stage:
    return GcpStage(clouds)


def _fields(key: MadeServiceKey) -> dict[str, object]:
    return {
        "client_email": key.client_email,
        "private_key_id": key.private_key_id,
        "private_key": Secret(key.private_key),
    }


def _secrets(key: MadeServiceKey) -> tuple[str, ...]:
    """Return each line of the key: no part of it may show."""
    return tuple(line for line in key.private_key.splitlines()[1:-1] if len(line) > 40)


def _principals(provider: str, *, is_set: bool = False) -> str:
    return ("principalSet:" if is_set else "principal:") + provider.rpartition("/providers/")[0]
