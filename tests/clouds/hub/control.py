"""Everything a test may do to the emulated registries; every value is JSON, so it works across processes."""

import secrets
from dataclasses import dataclass

from tests.clouds.hub.blob_cdn import BlobCdn
from tests.clouds.hub.model import SIX_HOURS, Account, Hiding, HubState, Repository, UnknownThingError
from tests.clouds.hub.sites import site_of


@dataclass(frozen=True, slots=True)
class Login:
    """What a registry shows once when it makes a personal access token or a robot."""

    username: str
    password: str


class HubControl:
    """Accounts, repositories, images and switches. `host` is a registry's; unknown names raise."""

    def __init__(self, state: HubState, cdn: BlobCdn) -> None:
        self._state = state
        self._cdn = cdn

    def add_account(self, host: str, username: str) -> Login:
        """Make an account with one password that can only read."""
        self._state.accounts[site_of(host).host, username] = Account(username)
        return self.add_password(host, username)

    def add_password(self, host: str, username: str) -> Login:
        """Give an account another password; the old ones go on to work until revoked."""
        password = f"dckr_pat_{secrets.token_urlsafe(20)}"
        self._state.account(host, username).passwords.add(password)
        return Login(username, password)

    def revoke_password(self, host: str, username: str, password: str) -> None:
        """Let a password open nothing any more; registry tokens got with it live on until they end."""
        account = self._state.account(host, username)
        if password not in account.passwords:
            raise UnknownThingError(f"{username} has no such password")
        account.passwords.remove(password)

    def add_repository(
        self, host: str, name: str, *, is_public: bool = True, readers: tuple[str, ...] = ()
    ) -> None:
        """Make a repository, or change who may pull from the one that is there."""
        if site_of(host).has_library and "/" not in name:
            raise ValueError(f"{host} has no names of one component: library/{name}")
        found = self._state.repositories.setdefault((host, name), Repository(name, is_public))
        found.is_public, found.readers = is_public, readers

    def delete_repository(self, host: str, name: str) -> None:
        """Remove a repository with everything in it."""
        self._state.repository(host, name)
        del self._state.repositories[host, name]

    def put_manifest(  # noqa: PLR0913 -- where and what, the latter by name
        self,
        host: str,
        name: str,
        *,
        digest: str,
        media_type: str,
        blobs: tuple[str, ...] = (),
        tag: str | None = None,
    ) -> None:
        """Let a repository hold a manifest and blobs that are in the content store already."""
        repository = self._state.repository(host, name)
        for each in (digest, *blobs):
            self._state.content.size(each)
        repository.shelf.put(digest, media_type, blobs, tag)

    def blob_path(self, digest: str) -> str:
        """Return the path of a blob in the CDN, to aim a fault at."""
        return self._cdn.path_of(digest)

    def set_token_life(self, seconds: float = 300.0) -> None:
        """Let registry tokens given out from now on live so long."""
        self._state.token_seconds = seconds

    def expire_tokens(self) -> int:
        """Let every registry token given out so far be over now; return how many were alive."""
        return self._state.expire_tokens()

    def set_hiding(self, hiding: Hiding) -> None:
        """Choose what is said of repositories that are private or not there."""
        self._state.hiding = hiding

    def set_rate_limit(
        self, *, anonymous: int = 100, account: int | None = 200, window_seconds: int = SIX_HOURS
    ) -> None:
        """Choose how many pulls a window holds; an `account` limit of None is a paid plan."""
        self._state.anonymous_limit, self._state.account_limit = anonymous, account
        self._state.window_seconds = window_seconds

    def set_head_is_limited(self, *, is_so: bool) -> None:
        """Choose whether HEAD is refused too once the pulls are used up."""
        self._state.is_head_limited = is_so

    def forget_pulls(self) -> None:
        """Let everybody's window begin anew."""
        self._state.quotas.clear()

    def pulls_counted(self) -> int:
        """Return how many pulls all present windows hold."""
        return sum(quota.used for quota in self._state.quotas.values())
