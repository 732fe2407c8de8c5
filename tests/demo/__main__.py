"""`make demo`: everything up, emulated clouds, real images pulled by real clients, shown as it happens.

One virtual registry over ECR, Artifact Registry, Azure Container Registry, Docker Hub and docker-registry, by
every auth method there is, through the ends of their tokens. Ends with a table and exit code 0 only if all of
it held. With --keep it stays up for a look around.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.clients.credentials import write_auth_file
from tests.clients.found import Client, clients_found
from tests.clients.process import ProgramFailedError, run_well
from tests.demo.guests import Guest, guests
from tests.demo.story import Story
from tests.e2e.cast import SLUG, Cast, Member, cast

_TOKEN_SECONDS = 12
_EXPIRIES = 2
_SHOWN = "aws.web_identity"
"""The identity whose trust set-up is printed."""


def main() -> None:
    """Tell the story; exit with 0 only if it ended well."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    arguments = parser.parse_args()
    story = Story()
    with tempfile.TemporaryDirectory(prefix="vreg-demo-", ignore_cleanup_errors=True) as folder:
        asyncio.run(_tell(story, Path(folder), keep=arguments.keep))
    sys.exit(0 if story.summary() else 1)


async def _tell(story: Story, folder: Path, *, keep: bool) -> None:
    try:
        story.say("Starting emulated AWS, Google Cloud, Azure and Docker Hub, and `vreg up` in an empty home")
        async with cast(folder) as play:
            story.done("everything answers")
            await _show(story, play, folder, keep=keep)
            story.say("Stopping everything")
        story.done("nothing is left behind")
    except Exception as error:  # noqa: BLE001 - a demo tells every failure and goes on to its summary
        story.failed(f"{type(error).__name__}: {error}")


async def _show(story: Story, play: Cast, folder: Path, *, keep: bool) -> None:
    story.say("Creating identities, upstreams, a virtual registry and an access token through the API")
    beside = await guests(play)
    await play.set_up([guest.membership for guest in beside])
    for member in play.members:
        story.note(f"{member.tag:34} {member.prepared.host}")
    for guest in beside:
        story.note(f"{guest.name:34} {guest.membership['allow'][0]}")
    story.done(f"{len(play.members) + len(beside)} upstreams in one virtual registry")
    await _show_trust(story, play)

    sources: list[Member | Guest] = [*play.members, *beside]
    async with _clients(story, play, folder) as clients:
        story.say(f"Pulling through {play.stack.proxy}/{SLUG} with {', '.join(c.name for c in clients)}")
        for client in clients:
            await _pull_all(story, play, client, sources, f"first-{client.name}")
        await _outlive_tokens(story, play, clients[0], sources)
    if keep:
        await _stay(story, play)


async def _show_trust(story: Story, play: Cast) -> None:
    """Print what vreg tells the cloud's administrator, as its own command prints it."""
    story.say(f"Asking `vreg trust {_SHOWN}` what AWS must be told; no secret is involved")
    command = [str(Path(sys.executable).with_name("vreg")), "trust", _SHOWN]
    environment = {
        "PATH": os.environ["PATH"],
        "VREG_API_TOKEN": play.stack.admin_token,
    }
    said = await run_well(
        [*command, "--api", f"http://127.0.0.1:{play.stack.api_port}"], environment=environment
    )
    story.note(said.strip())
    story.done("the trust policy names vreg's own issuer, and this identity alone")


async def _pull_all(
    story: Story, play: Cast, client: Client, sources: list[Member | Guest], tag: str
) -> None:
    for source in sources:
        if isinstance(source, Member):
            name, digest = source.tag, await asyncio.to_thread(source.push, f"{source.tag}/{tag}", tag)
            image = play.image(source, tag)
        else:
            name, digest, image = source.name, await source.push(tag, tag), source.image(play, tag)
        story.say(f"{client.name} pulls {name}")
        story.pulled(client.name, name, tag, is_right=await client.pull(image) == digest)


async def _outlive_tokens(story: Story, play: Cast, client: Client, sources: list[Member | Guest]) -> None:
    """Let credentials live for seconds, and pull what no cache holds after each has ended."""
    story.say(f"All clouds now give out credentials that end after {_TOKEN_SECONDS} s, and end the old ones")
    for stage in play.stages.values():
        stage.set_life(_TOKEN_SECONDS)
        stage.end_credentials()
    story.done("the credentials vreg holds are dead")
    for number in range(1, _EXPIRIES + 1):
        await _pull_all(story, play, client, sources, f"after-end-{number}")
        story.say(f"Waiting {_TOKEN_SECONDS} s for every credential to end")
        await asyncio.sleep(_TOKEN_SECONDS)
        granted = {name: stage.granted() for name, stage in play.stages.items() if stage.granted()}
        story.done("granted so far: " + ", ".join(f"{name} {count}" for name, count in granted.items()))
    await _pull_all(story, play, client, sources, "last")


@asynccontextmanager
async def _clients(story: Story, play: Cast, folder: Path) -> AsyncIterator[list[Client]]:
    """Yield the clients that are installed and can run here; those that cannot are named."""
    auth_file = write_auth_file(folder / "client" / "config.json", play.stack.proxy, play.token)
    found = clients_found(folder / "clients", auth_file)
    try:
        yield [client for client in found if await _can_run(story, client)]
    finally:
        for client in found:
            await client.close()


async def _can_run(story: Story, client: Client) -> bool:
    try:
        await client.prepare()
    except ProgramFailedError as error:
        story.note(f"{client.name} cannot run on this machine and is left out: {str(error).splitlines()[-1]}")
        return False
    return True


async def _stay(story: Story, play: Cast) -> None:
    story.note(
        f"Still up. Clients: {play.stack.proxy}/{SLUG}, user vreg, password {play.token}\n"
        f"API: http://127.0.0.1:{play.stack.api_port}/api/v1, bearer {play.stack.admin_token}\n"
        f"Emulated clouds and their gateway: {play.clouds.gateway_url}. Press Ctrl-C to end."
    )
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


if __name__ == "__main__":
    os.umask(0o022)
    main()
