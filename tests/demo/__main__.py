"""`make demo`: everything up, emulated clouds, real images pulled by real clients, shown as it happens.

Ends with a table and exit code 0 only if all of it held. With --keep it stays up for a look around.
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
from tests.clients.process import ProgramFailedError
from tests.clouds.images import Image, make_image, make_index
from tests.demo.story import Story
from tests.e2e.scene import OPEN_HOST, PLACES, PROTECTED_HOST, SLUG, Scene, scene

_MIB = 1024 * 1024
_TOKEN_SECONDS = 12
_EXPIRIES = 2


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
        story.say("Starting the emulated AWS, two docker-registries and `vreg up` in an empty home")
        async with scene(folder) as stage:
            story.done("everything answers")
            await _show(story, stage, folder)
            if keep:
                await _stay(story, stage)
            story.say("Stopping everything")
        story.done("nothing is left behind")
    except Exception as error:  # noqa: BLE001 - a demo tells every failure and goes on to its summary
        story.failed(f"{type(error).__name__}: {error}")


async def _show(story: Story, stage: Scene, folder: Path) -> None:
    story.say("Pushing images to ECR (two accounts, two regions) and to the registries")
    images = await _push_everywhere(stage, "first")
    story.done(f"{len(images)} repositories hold one image each, some for two platforms")

    story.say("Creating identities, upstreams, a virtual registry and an access token through the API")
    await stage.set_up()
    story.done("an access key, a role with an external id, a password; six upstreams in one registry")

    async with _clients(story, stage, folder) as clients:
        story.say(f"Pulling through {stage.stack.proxy}/{SLUG} with {', '.join(c.name for c in clients)}")
        await _pull_all(story, stage, clients, images, "first")
        await _outlive_tokens(story, stage, clients)


async def _push_everywhere(stage: Scene, tag: str) -> dict[str, str]:
    """Push an image of its own to every repository; return the digests by repository."""
    digests = {}
    for number, place in enumerate(PLACES):
        name = f"{place.repository}/{tag}"
        image = make_index(name, 2 * _MIB) if number % 2 else make_image(name, 3 * _MIB, _MIB)
        digests[place.repository] = stage.push_to_ecr(place, image, tag)
    for registry, repository in (
        (stage.open_registry, "tools/open"),
        (stage.protected_registry, "library/robot"),
    ):
        image: Image = make_image(f"{repository}/{tag}", 2 * _MIB)
        digests[repository] = await stage.push_to_registry(registry, repository, image, tag)
    return digests


@asynccontextmanager
async def _clients(story: Story, stage: Scene, folder: Path) -> AsyncIterator[list[Client]]:
    """Yield the clients that are installed and can run here; those that cannot are named."""
    auth_file = write_auth_file(folder / "client" / "config.json", stage.stack.proxy, stage.token)
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


async def _pull_all(
    story: Story, stage: Scene, clients: list[Client], digests: dict[str, str], tag: str
) -> None:
    for client in clients:
        for repository, digest in digests.items():
            story.say(f"{client.name} pulls {SLUG}/{repository}:{tag}")
            pulled = await client.pull(stage.image(repository, tag))
            story.pulled(client.name, repository, tag, is_right=pulled == digest)


async def _outlive_tokens(story: Story, stage: Scene, clients: list[Client]) -> None:
    """Let registry tokens live for seconds, and pull what no cache holds after each has ended."""
    story.say(f"AWS now gives out tokens that end after {_TOKEN_SECONDS} s, and forgets the old ones")
    stage.clouds.aws.set_token_life(_TOKEN_SECONDS)
    stage.clouds.aws.expire_tokens()
    story.done("the tokens vreg holds are dead")
    for round_ in range(1, _EXPIRIES + 1):
        tag = f"after-expiry-{round_}"
        images = await _push_everywhere(stage, tag)
        await _pull_all(story, stage, clients[:1], images, tag)
        story.say(f"Waiting {_TOKEN_SECONDS} s for every token to end")
        await asyncio.sleep(_TOKEN_SECONDS)
        story.done(f"{stage.clouds.log.count(operation='GetAuthorizationToken')} tokens asked for so far")
    last = await _push_everywhere(stage, "last")
    await _pull_all(story, stage, clients[:1], last, "last")


async def _stay(story: Story, stage: Scene) -> None:
    story.note(
        f"Still up. Clients: {stage.stack.proxy}/{SLUG}, user vreg, password {stage.token}\n"
        f"API: http://127.0.0.1:{stage.stack.api_port}/api/v1, bearer {stage.stack.admin_token}\n"
        f"Upstreams: {', '.join([place.host for place in PLACES] + [OPEN_HOST, PROTECTED_HOST])}\n"
        f"Emulated AWS and its gateway: {stage.clouds.gateway_url}. Press Ctrl-C to end."
    )
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


if __name__ == "__main__":
    os.umask(0o022)
    main()
