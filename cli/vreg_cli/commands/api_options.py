"""Options of commands that ask the API: where it is, and where the token is; never the token itself."""

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_API: Final = "http://127.0.0.1:8600"
ApiOption = Annotated[str, typer.Option("--api", metavar="URL", envvar="VREG_API", help="Where the API is.")]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", help="File of an access token; without it, VREG_API_TOKEN is one."
    ),
]
CaBundleOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-bundle",
        metavar="FILE",
        envvar="VREG_CA_BUNDLE",
        help="PEM file of further certificate authorities.",
    ),
]
