"""Writes `docs/providers/` from the providers' declarations and guides; `make docs` runs it."""

import sys
from pathlib import Path
from typing import Final

from vreg_shared.catalogue import Catalogue, catalogue
from vreg_shared.provider_page import page

FOLDER: Final = Path(__file__).parent / "providers"
_HEAD: Final = """# Providers

One page a cloud or family of registries: hosts, auth methods, set-up step by step, and what a failed
connection test means. They are written by `make docs` from the providers' own folders.
"""


def pages(of: Catalogue) -> dict[str, str]:
    """Return the text of every file, by its name."""
    lines = [
        f"- [{provider.title}]({provider.name}.md): {', '.join(kind.title for kind in provider.kinds)}"
        for provider in of.providers
    ]
    index = _HEAD + "\n" + "\n".join(lines) + "\n"
    return {"README.md": index} | {f"{provider.name}.md": page(provider) for provider in of.providers}


def write(folder: Path) -> None:
    """Write every page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(catalogue()).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
