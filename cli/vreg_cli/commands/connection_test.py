"""`vreg test`: a connection test of a saved upstream, drawn stage by stage as it runs."""

import asyncio
import time
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from vreg_cli.api_client import ApiClient, ApiRefusedError, ApiUnusableError, read_token
from vreg_cli.commands.api_options import DEFAULT_API, ApiOption, CaBundleOption, TokenFileOption
from vreg_cli.console import one_line
from vreg_shared.errors import VregError

LOOK_SECONDS: Final = 0.4
PATIENCE_SECONDS: Final = 150.0
"""Longer than the API lets a test run."""
NOT_PASSED: Final = 1
_MARKS: Final = {
    "passed": "[green]ok[/]",
    "failed": "[bold red]failed[/]",
    "warned": "[yellow]warned[/]",
    "skipped": "[dim]skipped[/]",
}


class UnknownUpstreamError(VregError):
    """No upstream has this name or id."""


def connection_test(
    upstream: Annotated[str, typer.Argument(metavar="UPSTREAM", help="An upstream's name or id.")],
    *,
    probe: Annotated[
        str | None,
        typer.Option("--probe", metavar="IMAGE", help="What to pull, such as team/app:1.2; else its own."),
    ] = None,
    api: ApiOption = DEFAULT_API,
    token_file: TokenFileOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Try an upstream stage by stage; the exit code is 1 unless it passes."""
    with one_line():
        client = ApiClient(api, read_token(token_file), ca_bundle)
        test = asyncio.run(_run(client, upstream, probe, Console()))
        if test["state"] != "passed":
            raise typer.Exit(NOT_PASSED)


async def _run(client: ApiClient, upstream: str, probe: str | None, console: Console) -> dict[str, Any]:
    wish = {"upstream_id": await _id_of(client, upstream)} | ({"probe": probe} if probe is not None else {})
    test = await client.post("/connection_tests", wish)
    until = time.monotonic() + PATIENCE_SECONDS
    with Live(drawn(test), console=console, auto_refresh=False) as live:
        while test["state"] == "running":
            if time.monotonic() > until:
                raise ApiUnusableError(f"the test has not ended within {PATIENCE_SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS)
            test = await client.get(f"/connection_tests/{test['id']}")
            live.update(drawn(test), refresh=True)
    for line in explained(test):
        console.print(line, soft_wrap=True)
    return test


async def _id_of(client: ApiClient, name: str) -> str:
    """Return the id of the one with this id or name; raise UnknownUpstreamError."""
    page = await client.get("/upstreams", name=name, limit="1000")
    for each in page["items"]:
        if str(each["name"]).casefold() == name.casefold():
            return str(each["id"])
    try:
        return str((await client.get(f"/upstreams/{name}"))["id"])
    except ApiRefusedError as error:
        raise UnknownUpstreamError(f"there is no upstream {name}") from error


def drawn(test: dict[str, Any]) -> Table:
    """Return the stages so far as a table."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for stage in test["stages"]:
        facts = ", ".join(f"{name} {value}" for name, value in stage["facts"].items())
        said = stage["reason"] or facts
        seconds = f"{stage['seconds']:.2f} s" if stage["seconds"] else ""
        table.add_row(stage["stage"], _MARKS[stage["outcome"]], seconds, escape(said))
    if test["state"] == "running":
        table.add_row("…", "[dim]running[/]", "", "")
    return table


def explained(test: dict[str, Any]) -> list[str]:
    """Return what is to be said below the table, in lines."""
    lines = ["", f"{escape(test['upstream_name'])} at {escape(test['host'])}: [bold]{test['state']}[/]"]
    for stage in test["stages"]:
        if stage["outcome"] not in {"failed", "warned"}:
            continue
        lines += ["", f"[bold]{stage['stage']}: {escape(stage['reason'])}[/]"]
        lines += [escape(stage[part]) for part in ("cause", "detail", "remedy") if stage[part]]
    for step in test["remedy_steps"]:
        where = f" ({step['file']})" if step["file"] else ""
        lines += ["", f"[bold]# {escape(step['title'])}{escape(where)}[/]", escape(step["text"])]
    return lines
