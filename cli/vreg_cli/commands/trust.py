"""`vreg trust`: what a cloud must be told of an identity, ready to paste."""

import asyncio
import re
from typing import Annotated, Any, Final

import typer

from vreg_cli.api_client import ApiClient, ApiRefusedError, read_token
from vreg_cli.commands.api_options import DEFAULT_API, ApiOption, CaBundleOption, TokenFileOption
from vreg_cli.console import one_line, say
from vreg_cli.trust_script import trust_script

_IDENTIFIER: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def trust(
    identity: Annotated[str, typer.Argument(metavar="IDENTITY", help="An identity's name or id.")],
    *,
    api: ApiOption = DEFAULT_API,
    token_file: TokenFileOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Print what to do in the cloud so that it trusts an identity, with everything filled in."""
    with one_line():
        client = ApiClient(api, read_token(token_file), ca_bundle)
        say(trust_script(asyncio.run(_trust(client, identity))).rstrip("\n"))


async def _trust(client: ApiClient, identity: str) -> dict[str, Any]:
    return await client.get(f"/identities/{await _identifier(client, identity)}/trust")


async def _identifier(client: ApiClient, identity: str) -> str:
    """Return the id of the identity with this id or, in whatever case, this name; raise ApiRefusedError."""
    if _IDENTIFIER.fullmatch(identity) is not None:
        return identity
    query = {"name": identity}
    while True:
        page = await client.get("/identities", **query)
        for each in page["items"]:
            if each["name"].casefold() == identity.casefold():
                return str(each["id"])
        if page["next_cursor"] is None:
            raise ApiRefusedError(f"there is no identity named {identity!r}")
        query["cursor"] = page["next_cursor"]
