"""Everything a test may do to the emulated AWS; every value is JSON, so that it works across processes."""

import base64
import secrets
from dataclasses import dataclass

from tests.clouds.aws.layer_bucket import LayerBucket
from tests.clouds.aws.machine import ContainerCredentials, InstanceMetadata
from tests.clouds.aws.model import AccessKey, Federation, Role, UnknownThingError, random_id
from tests.clouds.aws.places import partition_of, registry_host
from tests.clouds.aws.policy import Statement
from tests.clouds.aws.state import TWELVE_HOURS, AwsState
from tests.clouds.aws.tokens import Token
from tests.clouds.shelf import Shelf


@dataclass(frozen=True, slots=True)
class MadeKey:
    """What AWS shows once when it makes a key. The secret is made up and worth nothing."""

    access_key_id: str
    secret_access_key: str
    arn: str
    """Of the user."""
    session_token: str | None = None


class AwsControl:
    """Users, roles, repositories, images and switches. Unknown names raise."""

    def __init__(
        self,
        state: AwsState,
        bucket: LayerBucket,
        container: ContainerCredentials,
        instance: InstanceMetadata,
    ) -> None:
        self._state = state
        self._bucket = bucket
        self._container = container
        self._instance = instance

    def add_user(
        self, account: str, name: str, *, allow: tuple[Statement, ...] = (), partition: str = "aws"
    ) -> MadeKey:
        """Make a user with a key and nothing but these permissions."""
        return _made(self._state.model.add_user(account, name, partition, allow))

    def rotate_key(self, access_key_id: str) -> MadeKey:
        """Give the user of this key another one; the old one goes on to work until deleted."""
        return _made(self._state.model.add_key(self._key(access_key_id).principal))

    def delete_key(self, access_key_id: str) -> None:
        """Let a key be unknown."""
        self._key(access_key_id)
        del self._state.model.keys[access_key_id]

    def add_role(  # noqa: PLR0913 -- a role has these sides, given by name
        self,
        account: str,
        name: str,
        *,
        trusts: tuple[str, ...] = (),
        external_id: str | None = None,
        allow: tuple[Statement, ...] = (),
        max_session_seconds: int = 3600,
        partition: str = "aws",
        federations: tuple[Federation, ...] = (),
    ) -> str:
        """Make or replace a role that these principals, services and subjects may assume; return its ARN."""
        role_id = random_id("AROA")
        role = Role(account, partition, name, role_id, trusts, external_id, max_session_seconds, federations)
        return self._state.model.add_role(role, allow).arn

    def add_oidc_provider(self, account: str, issuer: str, *, audiences: tuple[str, ...]) -> None:
        """Let an account know an issuer of identity tokens; the audiences are its client ids."""
        self._state.model.oidc_providers[account, issuer] = set(audiences)

    def delete_oidc_provider(self, account: str, issuer: str) -> None:
        """Let an account know it no more."""
        self._state.model.oidc_providers.pop((account, issuer))

    def reject_claims_of(self, issuer: str) -> None:
        """Let every claim of an issuer be rejected."""
        self._state.rejected_issuers.add(issuer)

    def associate_pod(self, role_arn: str) -> str:
        """Give a pod a role, if that trusts pods; return the authorization token its containers ask with."""
        token = secrets.token_urlsafe(200)
        self._container.roles[token] = self._role(role_arn).arn
        return token

    def dissociate_pod(self, token: str) -> None:
        """Take the pod's role away."""
        del self._container.roles[token]

    def set_instance_role(self, role_arn: str | None) -> None:
        """Give the instance a role, if that trusts instances, or none."""
        self._instance.role_arn = role_arn

    def set_instance_put(self, *, status: int | None = None, is_too_far: bool = False) -> None:
        """Let the metadata service refuse sessions of version 2, or its answers get lost on the way."""
        self._instance.put_status = status
        self._instance.is_too_far = is_too_far

    def set_machine_session_life(self, seconds: float) -> None:
        """Let credentials that pods and instances are given from now on live so long."""
        self._state.machine_session_seconds = seconds

    def set_packed_policy_limit(self, characters: int) -> None:
        """Let longer session policies not fit once packed."""
        self._state.packed_policy_limit = characters

    def delete_role(self, arn: str) -> None:
        """Remove a role; its sessions may do nothing any more."""
        if self._state.model.roles.pop(arn, None) is None:
            raise UnknownThingError(f"there is no role {arn}")
        self._state.model.policies.pop(arn, None)

    def open_session(self, role_arn: str, session_name: str, seconds: float) -> MadeKey:
        """Make temporary credentials of a role, as somebody else would hand them to us."""
        expires_at = self._state.clock.now() + seconds
        return _made(self._state.model.open_session(self._role(role_arn), session_name, expires_at))

    def issue_token(self, role_arn: str, region: str, session_name: str = "a-session") -> str:
        """Make a registry token of a role without any call; return what goes behind `Basic `."""
        now = self._state.clock.now()
        key = self._state.model.open_session(self._role(role_arn), session_name, now + 3600)
        token = Token(key, partition_of(region), region, now + self._state.token_seconds)
        return base64.b64encode(f"AWS:{self._state.tokens.issue(token)}".encode()).decode()

    def set_policy(self, arn: str, allow: tuple[Statement, ...]) -> None:
        """Replace what a user or role may do; it holds at once, also for tokens given out."""
        if arn not in self._state.model.policies:
            raise UnknownThingError(f"there is no user or role {arn}")
        self._state.model.policies[arn] = allow

    def deny(self, arn: str, action: str, resource: str = "*") -> None:
        """Add an explicit deny to what a user or role may do."""
        denied = Statement((action,), (resource,), is_allow=False)
        self.set_policy(arn, (*self._state.model.policies.get(arn, ()), denied))

    def disable_region(self, account: str, region: str) -> None:
        """Let an account have switched a region off."""
        self._state.model.disabled_regions.add((account, region))

    def enable_region(self, account: str, region: str) -> None:
        """Switch it on again."""
        self._state.model.disabled_regions.discard((account, region))

    def add_repository(self, account: str, region: str, name: str, *, readers: tuple[str, ...] = ()) -> str:
        """Make a repository that `readers` of other accounts may pull from; return its registry's host."""
        self._state.model.add_repository(account, region, name, readers)
        return registry_host(account, region)

    def delete_repository(self, account: str, region: str, name: str) -> None:
        """Remove a repository with everything in it."""
        self._state.model.repository(account, region, name)
        del self._state.model.repositories[account, region, name]

    def put_manifest(  # noqa: PLR0913 -- where and what, the latter by name
        self,
        account: str,
        region: str,
        name: str,
        *,
        digest: str,
        media_type: str,
        blobs: tuple[str, ...] = (),
        tag: str | None = None,
    ) -> None:
        """Let a repository hold a manifest and blobs that are in the content store already."""
        repository = self._state.model.repository(account, region, name)
        for each in (digest, *blobs):
            self._state.content.size(each)
        repository.shelf.put(digest, media_type, blobs, tag)

    def delete_tag(self, account: str, region: str, name: str, tag: str) -> None:
        """Let a tag name nothing."""
        self._state.model.repository(account, region, name).shelf.tags.pop(tag)

    def add_public_repository(self, name: str) -> None:
        """Make a repository of ECR Public, by alias and name."""
        self._state.public_repositories.setdefault(name, Shelf())

    def put_public_manifest(
        self, name: str, *, digest: str, media_type: str, blobs: tuple[str, ...] = (), tag: str | None = None
    ) -> None:
        """Let it hold a manifest and blobs that are in the content store already."""
        self._state.public_repositories[name].put(digest, media_type, blobs, tag)

    def blob_path(self, account: str, region: str, name: str, digest: str) -> str:
        """Return the path of a blob in the layer bucket, to aim a fault at."""
        return self._bucket.path_of(self._state.model.repository(account, region, name), digest)

    def set_token_life(self, seconds: float = TWELVE_HOURS) -> None:
        """Let registry tokens given out from now on live so long."""
        self._state.token_seconds = seconds

    def set_session_life(self, seconds: float | None) -> None:
        """Let role sessions live at most so long, even below the 15 minutes that may be asked for."""
        self._state.session_seconds = seconds

    def set_storage_url_life(self, seconds: float) -> None:
        """Let the addresses that blobs are redirected to live so long."""
        self._state.storage_url_seconds = seconds

    def set_clock_offset(self, seconds: float) -> None:
        """Let AWS's clock be ahead of ours by so much; negative is behind."""
        self._state.clock.offset = seconds

    def set_tokens_end_with_sessions(self, *, is_so: bool) -> None:
        """Choose whether a registry token dies with the role session that asked for it."""
        self._state.tokens_end_with_sessions = is_so

    def set_digest_on_head(self, *, is_so: bool) -> None:
        """Choose whether HEAD of a manifest names its digest."""
        self._state.has_digest_on_head = is_so

    def expire_tokens(self) -> int:
        """Let every registry token given out so far be expired now; return how many were alive."""
        return self._state.tokens.expire(self._state.clock.now())

    def revoke_tokens(self) -> int:
        """Let every registry token given out so far be unknown; return how many there were."""
        return self._state.tokens.revoke()

    def expire_sessions(self) -> int:
        """Let every role session be over now; return how many were alive."""
        now = self._state.clock.now()
        alive = [key for key in self._state.model.keys.values() if (key.expires_at or 0) > now]
        for key in alive:
            key.expires_at = now
        return len(alive)

    def host(self, account: str, region: str) -> str:
        """Return the usual host of a private registry."""
        partition_of(region)
        return registry_host(account, region)

    def _role(self, arn: str) -> Role:
        try:
            return self._state.model.roles[arn]
        except KeyError:
            raise UnknownThingError(f"there is no role {arn}") from None

    def _key(self, access_key_id: str) -> AccessKey:
        try:
            return self._state.model.keys[access_key_id]
        except KeyError:
            raise UnknownThingError(f"there is no access key {access_key_id}") from None


def _made(key: AccessKey) -> MadeKey:
    return MadeKey(key.access_key_id, key.secret, key.principal.iam_arn, key.session_token)
