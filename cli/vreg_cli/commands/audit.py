"""`vreg audit`: follow the archive, export it, and prove that nothing in it was altered or lost."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vreg_cli.api_client import ApiClient, ApiUnusableError, read_token
from vreg_cli.commands import audit_consumer
from vreg_cli.commands.api_options import DEFAULT_API, ApiOption, CaBundleOption, TokenFileOption
from vreg_cli.console import one_line, say
from vreg_shared.errors import VregError
from vreg_shared.key_files import PublicKeyFolder, Service
from vreg_shared.messages.audit_chain import ChainLink, Verified, flaws, imported

app = typer.Typer(help="What happened: follow, verify, export.", no_args_is_help=True)
app.add_typer(audit_consumer.app, name="consumer")

FLAWED: Final = 1
RETRY_SECONDS: Final = 2.0
_TypeOption = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only these, as vreg.exchange.outcome.")
]


class ExportUnreadableError(VregError):
    """A line of the file is none of an export."""


@app.command()
def tail(
    *,
    kind: _TypeOption = None,
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Begin after this sequence; without it, now.")
    ] = None,
    api: ApiOption = DEFAULT_API,
    token_file: TokenFileOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Print events as they are archived, one a line, until interrupted; it goes on after every outage."""
    with one_line():
        client = ApiClient(api, read_token(token_file), ca_bundle)
        asyncio.run(_tail(client, {"type": kind} if kind else {}, after))


@app.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to write; else standard output.")
    ] = None,
    *,
    after: Annotated[int, typer.Option("--after", min=0, help="Only what follows this sequence.")] = 0,
    api: ApiOption = DEFAULT_API,
    token_file: TokenFileOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Write every archived event, oldest first, one a line (NDJSON)."""
    with one_line():
        client = ApiClient(api, read_token(token_file), ca_bundle)
        asyncio.run(_export(client, {"after": str(after)}, file))


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An export to verify here, asking nobody.")
    ] = None,
    *,
    keys: Annotated[
        Path, typer.Option("--keys", metavar="FOLDER", help="Public keys to verify FILE with.")
    ] = Path(".vreg/keys/public"),
    api: ApiOption = DEFAULT_API,
    token_file: TokenFileOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Verify every hash and signature, of the archive or of an exported file; exit code 1 if one is wrong."""
    with one_line():
        if file is not None:
            found, said = _verified_file(file, keys)
        else:
            client = ApiClient(api, read_token(token_file), ca_bundle)
            found, said = _of_report(asyncio.run(client.get("/audit-chain", whole="true")))
    for flaw in found:
        say(f"FLAW  {flaw}")
    say(said)
    if found:
        raise typer.Exit(FLAWED)


async def _tail(client: ApiClient, query: Mapping[str, str], after: int | None) -> None:
    last = str(after) if after is not None else None
    while True:
        resuming = {"Last-Event-ID": last} if last is not None else {}
        try:
            async for number, line in _events(client.lines("/audit-events/stream", query, resuming)):
                last = number
                say(line)
        except ApiUnusableError as error:
            typer.echo(f"vreg: {error}", err=True)
        await asyncio.sleep(RETRY_SECONDS)


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str]]:
    """Yield id and data of server-sent events; each of ours is one line of data."""
    number = ""
    async for line in lines:
        if line.startswith("id: "):
            number = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield number, line.removeprefix("data: ")


async def _export(client: ApiClient, query: Mapping[str, str], file: Path | None) -> None:
    """Write to a file that has its name once it is whole."""
    lines = client.lines("/audit-events/export", query)
    if file is None:
        with suppress(BrokenPipeError):
            async for line in lines:
                sys.stdout.write(line + "\n")
        return
    partial, count = file.with_name(file.name + ".new"), 0
    with partial.open("w", encoding="ascii") as out:
        async for line in lines:
            out.write(line + "\n")
            count += 1
    partial.rename(file)
    say(f"Wrote {count} events to {file}")


def _verified_file(file: Path, folder: Path) -> tuple[list[str], str]:
    public = PublicKeyFolder(folder)
    keys = {service: public.verifying_key(service) for service in Service}
    links = _links(file)
    first = next(links, None)
    if first is None:
        return [], "There is no event in it"
    at = Verified(first.sequence - 1, first.previous_hash)
    found = [*flaws([first], keys, at), *flaws(links, keys, at)]
    return found, f"Looked at events {first.sequence} to {at.sequence}; the last one's hash is {at.hash}"


def _links(file: Path) -> Iterator[ChainLink]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield imported(line)
            except ValueError as error:
                raise ExportUnreadableError(f"{file}, line {number}: {error}") from error


def _of_report(report: Mapping[str, Any]) -> tuple[list[str], str]:
    gaps = [
        f"{gap['source']}: nothing arrived of what it numbered between {gap['after']} and {gap['before']}"
        for gap in report["gaps"]
    ]
    looked_at = f"Looked at events {report['verified_from']} to {report['verified_until']}"
    apart = f"{report['rejected']} kept apart as no events" if report["rejected"] else "none kept apart"
    head = json.dumps({"sequence": report["head_sequence"], "hash": report["head_hash"]})
    return [*report["flaws"], *gaps], f"{looked_at}; {apart}; head {head}"
