"""Reads vreg's audit events from the bus, checks who signed each, and prints them, one a line.

Make its access first: `vreg audit consumer create siem`. Then, where nats-py[nkeys] and cryptography are:

    python audit_consumer.py --name siem --seed .vreg/keys/consumers/siem/nkey.seed \
        --public-keys .vreg/keys/public --bookmark siem.json

It remembers in the bookmark how far it is, and begins again where that cannot be found: an event may come
twice, and its `id` says so. Nothing is acknowledged, since whoever may acknowledge may do more than read.
"""

import argparse
import asyncio
import base64
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import nats
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from nats.aio.msg import Msg  # noqa: TC002 - examples are read, not tuned

SUBJECTS = "vreg.audit.>"
SILENCE_SECONDS = 5.0


def signed_by_its_writer(event: dict[str, Any], public_keys: Path) -> bool:
    """Whether the writer that the event names signed exactly this."""
    key = load_pem_public_key((public_keys / f"{event['source'].split('/')[1]}.signing.pub").read_bytes())
    unsigned = {name: value for name, value in event.items() if name != "signature"}
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        assert isinstance(key, Ed25519PublicKey)  # noqa: S101 - vreg has no others
        key.verify(base64.b64decode(event["signature"]), text.encode())
    except InvalidSignature:
        return False
    return True


def handle(event: dict[str, Any]) -> None:
    """Put your own here: send it to your log system, or ring a bell."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def read(client: nats.NATS, name: str, start: int, queue: "asyncio.Queue[Msg]") -> None:
    """Have the server send all from number `start` on."""
    inbox = f"vreg.inbox.consumer.{name}.{secrets.token_hex(8)}"
    await client.subscribe(inbox, cb=queue.put)
    feed = {
        "name": f"outside-{name}",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": start,
        "deliver_subject": inbox,
        "filter_subject": SUBJECTS,
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": 1_000_000_000,
        "inactive_threshold": 2_000_000_000,
        "mem_storage": True,
        "num_replicas": 1,
    }
    subject = f"$JS.API.CONSUMER.CREATE.VREG_AUDIT.{feed['name']}.{SUBJECTS}"
    wish = {"stream_name": "VREG_AUDIT", "config": feed, "action": "create"}
    answer = json.loads((await client.request(subject, json.dumps(wish).encode(), timeout=5)).data)
    if "error" in answer:  # as long as the server remembers our last feed
        raise ConnectionError(answer["error"]["description"])


async def follow(arguments: argparse.Namespace) -> None:
    """Handle events until the bus falls silent; raise ConnectionError then."""
    last, last_id = load(arguments.bookmark)
    queue: asyncio.Queue[Msg] = asyncio.Queue()
    client = await nats.connect(
        arguments.url,
        nkeys_seed_str=arguments.seed.read_text().strip(),
        inbox_prefix=f"vreg.inbox.consumer.{arguments.name}",
        allow_reconnect=False,
    )
    try:
        await read(client, arguments.name, max(last, 1), queue)
        while True:
            message = await asyncio.wait_for(queue.get(), SILENCE_SECONDS)
            if message.headers and message.headers.get("Status") == "100":
                if message.reply:  # the server asks whether it may go on
                    await client.publish(message.reply, b"")
                elif last and message.headers.get("Nats-Last-Consumer") == "0":
                    save(arguments.bookmark, 0, "")  # another stream than the one of our bookmark
                    raise ConnectionError("the bookmark is not in the stream")
                continue
            number, event = int(message.reply.split(".")[5]), json.loads(message.data)
            if event["id"] == last_id:
                continue  # the event of the bookmark itself
            if not signed_by_its_writer(event, arguments.public_keys):
                sys.stderr.write(f"NOT SIGNED BY {event['source']}: {event['id']}\n")
                continue
            handle(event)
            last, last_id = number, event["id"]
            save(arguments.bookmark, last, last_id)
    except TimeoutError:
        raise ConnectionError("the bus fell silent") from None
    finally:
        await client.close()


def load(bookmark: Path) -> tuple[int, str]:
    """Return number and id of the last event that was handled."""
    if not bookmark.exists():
        return 0, ""
    kept = json.loads(bookmark.read_text())
    return kept["number"], kept["id"]


def save(bookmark: Path, number: int, event_id: str) -> None:
    """Remember the last event that was handled."""
    fresh = bookmark.with_suffix(".new")
    fresh.write_text(json.dumps({"number": number, "id": event_id}))
    fresh.replace(bookmark)


async def main() -> None:
    """Follow for ever."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=Path, required=True)
    parser.add_argument("--public-keys", type=Path, required=True)
    parser.add_argument("--bookmark", type=Path, required=True)
    arguments = parser.parse_args()
    while True:
        try:
            await follow(arguments)
        except (OSError, nats.errors.Error) as error:
            sys.stderr.write(f"{error}; trying again\n")
        await asyncio.sleep(2)


if __name__ == "__main__":
    asyncio.run(main())
