"""`vreg identity`: identities made from what a cloud's own tools wrote."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vreg_cli.api_client import ApiClient, read_token
from vreg_cli.commands.api_options import DEFAULT_API, ApiOption, CaBundleOption, TokenFileOption
from vreg_cli.console import one_line, say
from vreg_shared.errors import VregError

app = typer.Typer(help="Ways to prove ourselves to a cloud.", no_args_is_help=True)

_MAX_DOCUMENT_BYTES: Final = 256 * 1024


class DocumentUnreadableError(VregError):
    """What was given is no JSON object; its text is not repeated, for it may hold a secret."""


@app.command("import")
def import_identity(  # noqa: PLR0913 - an argument an option
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the cloud wrote of the identity, as JSON.")
    ],
    *,
    name: Annotated[str, typer.Option("--name", help="The identity's name in vreg.")],
    usable_for: Annotated[
        str,
        typer.Option(
            "--usable-for", metavar="JSON", help='Where it may be used, such as \'{"projects": ["prod"]}\'.'
        ),
    ],
    provider: Annotated[
        str | None, typer.Option("--provider", help="Whose document it is, if more than one could read it.")
    ] = None,
    api: ApiOption = DEFAULT_API,
    token_file: TokenFileOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Make an identity from a cloud's own file; its secrets are sealed at once and never shown again."""
    with one_line():
        wish = {
            "name": name,
            "document": _object(_text(file), str(file)),
            "usable_for": _object(usable_for, "--usable-for"),
        }
        wish |= {"provider": provider} if provider is not None else {}
        client = ApiClient(api, read_token(token_file), ca_bundle)
        made = asyncio.run(client.post("/identities/imports", wish))
        say(f"Made identity {made['name']} ({made['id']}), auth method {made['auth_method']['method']}")
        say(f"Run `vreg trust {made['id']}` for what the cloud must be told")


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(_MAX_DOCUMENT_BYTES + 1)
    if len(raw) > _MAX_DOCUMENT_BYTES:
        raise DocumentUnreadableError(f"{file} is longer than {_MAX_DOCUMENT_BYTES} bytes")
    return raw.decode("utf-8", "replace")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DocumentUnreadableError(f"{where} is not a JSON object")
    return found
