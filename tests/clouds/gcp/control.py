"""Everything a test may do to the emulated Google; every value is JSON, so that it works across processes."""

import json
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.clouds.gcp.model import Account, PoolProvider, Repository, UnknownThingError, read_keys
from tests.clouds.gcp.paths import read_path
from tests.clouds.gcp.places import GCR, REGIONS, find_place
from tests.clouds.gcp.state import ONE_HOUR, GcpState, Machine
from tests.clouds.gcp.tokens import CLOUD_PLATFORM, READ_ONLY, Principal


@dataclass(frozen=True, slots=True)
class MadeServiceKey:
    """What Google shows once when it makes a key. It is worth nothing outside this world."""

    client_email: str
    private_key_id: str
    private_key: str

    def document(self) -> dict[str, str]:
        """Return the key file."""
        return {
            "type": "service_account",
            "project_id": "a-project",
            "private_key_id": self.private_key_id,
            "private_key": self.private_key,
            "client_email": self.client_email,
            "client_id": "100000000000000000001",
            "token_uri": "https://oauth2.googleapis.com/token",
            "universe_domain": "googleapis.com",
        }


class GcpControl:
    """Service accounts, pools, repositories, images and switches. Unknown names raise."""

    def __init__(self, state: GcpState) -> None:
        self._state = state

    def add_service_account(self, email: str, *, actors: tuple[str, ...] = ()) -> str:
        """Make a service account that these members may act as; return it as a member."""
        account = self._state.model.accounts.setdefault(email, Account(email))
        account.actors |= set(actors)
        return f"serviceAccount:{email}"

    def delete_service_account(self, email: str) -> None:
        """Remove a service account; its tokens go on."""
        self._state.model.account(email)
        del self._state.model.accounts[email]

    def add_key(self, email: str) -> MadeServiceKey:
        """Make one more key of a service account; earlier ones go on to work until deleted."""
        private = generate_private_key(public_exponent=65537, key_size=2048)
        key_id = secrets.token_hex(20)
        self._state.model.account(email).keys[key_id] = private.public_key()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return MadeServiceKey(email, key_id, pem.decode())

    def disable_key(self, email: str, key_id: str) -> None:
        """Let a key work no longer."""
        self._state.model.account(email).disabled_keys.add(key_id)

    def enable_key(self, email: str, key_id: str) -> None:
        """Let it work again."""
        self._state.model.account(email).disabled_keys.discard(key_id)

    def let_act(self, member: str, email: str) -> None:
        """Let a member make tokens of a service account."""
        self._state.model.account(email).actors.add(member)

    def stop_acting(self, member: str, email: str) -> None:
        """Let it do so no longer."""
        self._state.model.account(email).actors.discard(member)

    def set_longest_life(self, email: str, seconds: int) -> None:
        """Let impersonated tokens of a service account live so long, as by organisation policy."""
        self._state.model.account(email).longest_seconds = seconds

    def add_oidc_provider(  # noqa: PLR0913 -- a provider has these sides, given by name
        self,
        project_number: str,
        pool: str,
        provider: str,
        *,
        issuer: str,
        audiences: tuple[str, ...] = (),
        subjects: str = "*",
        keys: str | None = None,
    ) -> str:
        """Let a pool trust an issuer, for subjects that match a glob; return the provider's name.

        `keys` is a JWKS that is uploaded, so that the issuer is never asked.
        """
        name = provider_name(project_number, pool, provider)
        found = PoolProvider(
            name, issuer=issuer, audiences=audiences, subjects=subjects, keys=read_keys(keys)
        )
        self._state.model.providers[name] = found
        return name

    def add_aws_provider(
        self, project_number: str, pool: str, provider: str, *, account: str, subjects: str = "*"
    ) -> str:
        """Let a pool trust an AWS account; return the provider's name."""
        name = provider_name(project_number, pool, provider)
        self._state.model.providers[name] = PoolProvider(name, aws_account=account, subjects=subjects)
        return name

    def disable_provider(self, name: str) -> None:
        """Let a pool's provider be switched off."""
        self._state.model.provider(name).is_enabled = False

    def enable_provider(self, name: str) -> None:
        """Switch it on again."""
        self._state.model.provider(name).is_enabled = True

    def set_condition(self, name: str, subjects: str) -> None:
        """Let a provider take only subjects that match a glob."""
        self._state.model.provider(name).subjects = subjects

    def set_machine(self, email: str | None, scopes: tuple[str, ...] = (CLOUD_PLATFORM,)) -> None:
        """Attach a service account to the machine, or none."""
        self._state.machine = Machine(email, scopes)

    def refuse_machine(self, status: int, words: str) -> None:
        """Let the metadata server refuse tokens in these words."""
        self._state.machine.refusal = (status, words)

    def disable_service(self, name: str) -> None:
        """Let an API, such as `iamcredentials`, not be enabled in the project."""
        self._state.disabled_services.add(name)

    def add_repository(self, project: str, location: str, name: str, *, readers: tuple[str, ...] = ()) -> str:
        """Make a repository that these members may read, one that exists gets them too; return its host."""
        where = (project, location, name)
        repository = self._state.model.repositories.setdefault(where, Repository(*where))
        repository.readers |= set(readers)
        return self.host(location, name)

    def delete_repository(self, project: str, location: str, name: str) -> None:
        """Remove a repository with everything in it."""
        self._state.model.repository(project, location, name)
        del self._state.model.repositories[project, location, name]

    def grant(self, project: str, location: str, name: str, member: str) -> None:
        """Let a member read a repository."""
        repository = self._state.model.repository(project, location, name)
        repository.readers.add(member)
        repository.denied.discard(member)

    def deny(self, project: str, location: str, name: str, member: str) -> None:
        """Let a member not read a repository; it holds at once, also for tokens given out."""
        self._state.model.repository(project, location, name).denied.add(member)

    def grant_project(self, project: str, member: str) -> None:
        """Let a member read all of a project."""
        self._state.model.project_readers.setdefault(project, set()).add(member)

    def put_manifest(  # noqa: PLR0913 -- where and what, the latter by name
        self,
        host: str,
        path: str,
        *,
        digest: str,
        media_type: str,
        blobs: tuple[str, ...] = (),
        tag: str | None = None,
    ) -> None:
        """Let an image hold a manifest and blobs that are in the content store already."""
        place = find_place(host)
        asked = read_path(path, place) if place is not None else None
        if asked is None:
            raise UnknownThingError(f"{host}/{path} names no image")
        for each in (digest, *blobs):
            self._state.content.size(each)
        shelf = self._state.model.repository(*asked.where).shelves[asked.image]
        shelf.put(digest, media_type, blobs, tag)

    def issue_token(self, member: str, scopes: tuple[str, ...] = (READ_ONLY,)) -> str:
        """Make an access token of a member without any call."""
        principal = Principal(member, frozenset({member}))
        return self._state.issue(principal, frozenset(scopes))[0]

    def set_token_life(self, seconds: float = ONE_HOUR) -> None:
        """Let access tokens given out from now on live so long."""
        self._state.token_seconds = seconds

    def set_download_life(self, seconds: float) -> None:
        """Let the addresses that blobs are redirected to live so long."""
        self._state.download_seconds = seconds

    def set_clock_offset(self, seconds: float) -> None:
        """Let Google's clock be ahead of ours by so much; negative is behind. AWS's goes with it."""
        self._state.clock.offset = seconds

    def expire_tokens(self) -> int:
        """Let every access token given out so far be expired now; return how many were alive."""
        return self._state.tokens.expire(self._state.clock.now())

    def revoke_tokens(self) -> int:
        """Let every access token given out so far be unknown; return how many there were."""
        return self._state.tokens.revoke()

    def set_switch(self, name: str, *, is_so: bool) -> None:
        """Choose what is not known of the real one; the names are those of the state's switches."""
        if not isinstance(getattr(self._state, name, None), bool):
            raise UnknownThingError(f"there is no switch {name}")
        setattr(self._state, name, is_so)

    def host(self, location: str, repository: str = "") -> str:
        """Return the usual host of a location, or of a repository that is named after its own."""
        if GCR.get(repository) == location:
            return repository
        found = f"{location}-docker.pkg.dev"
        if find_place(found) is None:
            raise UnknownThingError(f"{location} is not one of the emulated locations: {REGIONS}")
        return found


def provider_name(project_number: str, pool: str, provider: str) -> str:
    """Return the full resource name of a pool's provider."""
    return (
        f"//iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/{pool}"
        f"/providers/{provider}"
    )


def key_file(key: MadeServiceKey) -> str:
    """Return a key file's text."""
    return json.dumps(key.document())
