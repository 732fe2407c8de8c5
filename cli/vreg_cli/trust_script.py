"""What to do in a cloud, as text to read and paste into a shell."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

_END: Final = "END_OF_FILE"


def trust_script(trust: Mapping[str, Any]) -> str:
    """Return the API's trust steps: comments for a person, commands and files for a shell."""
    return "\n".join(_lines(trust)) + "\n"


def _lines(trust: Mapping[str, Any]) -> Iterator[str]:
    yield f"# subject      {trust['subject']}"
    yield f"# external id  {trust['external_id']}"
    yield f"# issuer       {trust['issuer_url'] or 'none is configured'}"
    for objection in trust["objections"]:
        yield f"# First, as the operator of vreg: {objection['message']}"
    if not trust["steps"]:
        yield "# Its auth method needs nothing set up that depends on vreg."
    for number, step in enumerate(trust["steps"], 1):
        yield from ("", f"# {number}. {step['title']}", *_step(step))


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    text: str = step["text"].rstrip("\n")
    if step["file"] is not None:
        return (f"cat > {shlex.quote(step['file'])} <<'{_END}'", text, _END)
    return (text,) if step["language"] == "sh" else tuple(f"#    {line}" for line in text.splitlines())
