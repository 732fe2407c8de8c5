"""Server-sent events, as they go over the wire.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""


def event_line(kind: str, payload: str, identifier: str) -> bytes:
    """Return one event; `payload` is JSON on one line."""
    return f"event: {kind}\nid: {identifier}\ndata: {payload}\n\n".encode()
