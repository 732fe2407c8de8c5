"""Rung 1: tokens that vreg signs, and tokens that the platform writes."""

import asyncio
import base64
import io
import json
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import google.auth.jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.clouds.oidc import Flaw, FlawedTokenError
from tests.support.clock import ManualClock
from tests.support.issuer_site import ISSUER_URL, verified
from tests.support.logs import captured_logs
from vreg_cli.home import Home, open_home
from vreg_cli.issuer_keys import ensure_issuer_keys, rotate
from vreg_shared.auth_method import IdentityTokenNeed
from vreg_shared.clock import Clock, SystemClock
from vreg_shared.issuer_documents import discovery_document, subject_of
from vreg_shared.issuer_keys import read_issuer_keys
from vreg_shared.key_files import Service
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import IdentityTokenError, Refused, Unavailable
from vreg_token_broker.identity_tokens import MAX_TOKEN_BYTES, GrantedIdentityTokens

IDENTITY = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"
GRANTS = OperatorGrants(issuer_url=ISSUER_URL)
OWN = IdentityTokenNeed(audience="sts.amazonaws.com")
NAMED = IdentityTokenNeed(audience="sts.amazonaws.com", file="irsa")
FILE_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def home(tmp_path: Path, clock: ManualClock) -> Home:
    opened = open_home(tmp_path / "home")
    ensure_issuer_keys(opened, clock.now())
    return opened


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with captured_logs("token-broker") as text:
        yield text


def tokens(home: Home, clock: Clock, **grants: object) -> GrantedIdentityTokens:
    keys = home.key_folder(Service.TOKEN_BROKER).issuer_path
    return GrantedIdentityTokens(replace(GRANTS, **grants), keys, clock)


def documents(home: Home, path: str) -> bytes:
    return (
        home.public_keys.issuer_jwks_path.read_bytes()
        if path == "jwks.json"
        else discovery_document(ISSUER_URL)
    )


async def outcome(asked: GrantedIdentityTokens, need: IdentityTokenNeed) -> Refused | Unavailable:
    with pytest.raises(IdentityTokenError) as raised:
        await asked.token(IDENTITY, need)
    return raised.value.outcome


async def test_a_cloud_that_knows_only_the_documents_accepts_a_token(home: Home, clock: ManualClock) -> None:
    token = await tokens(home, clock).token(IDENTITY, OWN)

    said = await verified(token.reveal(), clock.now(), lambda path: documents(home, path))

    now = int(clock.now().timestamp())
    assert said.raw.pop("jti")
    assert said.raw == {
        "iss": ISSUER_URL,
        "sub": f"vreg:identity:{IDENTITY}",
        "aud": "sts.amazonaws.com",
        "iat": now,
        "nbf": now - 30,
        "exp": now + 300,
    }


async def test_an_sdk_accepts_a_token(home: Home) -> None:
    token = (await tokens(home, SystemClock()).token(IDENTITY, OWN)).reveal()
    [key] = json.loads(documents(home, "jwks.json"))["keys"]
    e, n = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "==")) for name in "en")
    pem = RSAPublicNumbers(e, n).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    said = google.auth.jwt.decode(token, certs={key["kid"]: pem}, audience="sts.amazonaws.com")

    assert said["sub"] == subject_of(IDENTITY)


async def test_every_token_is_another_one_and_ends_after_five_minutes(home: Home, clock: ManualClock) -> None:
    signing = tokens(home, clock)
    first, second = [(await signing.token(IDENTITY, OWN)).reveal() for _ in range(2)]

    assert first != second
    late = clock.now() + timedelta(minutes=5)
    with pytest.raises(FlawedTokenError) as flawed:
        await verified(first, late, lambda path: documents(home, path))
    assert flawed.value.flaw is Flaw.EXPIRED


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_that_was_altered_is_no_token(home: Home, clock: ManualClock, part: int) -> None:
    parts = (await tokens(home, clock).token(IDENTITY, OWN)).reveal().split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = f"{parts[part][:middle]}{other}{parts[part][middle + 1 :]}"

    with pytest.raises(FlawedTokenError):
        await verified(".".join(parts), clock.now(), lambda path: documents(home, path))


async def test_a_rotation_is_followed_without_a_restart_by_two_brokers_alike(
    home: Home, clock: ManualClock
) -> None:
    brokers = [tokens(home, clock), tokens(home, clock)]

    async def kids() -> list[str]:
        signed = await asyncio.gather(*(broker.token(IDENTITY, OWN) for broker in brokers))
        return [json.loads(base64.urlsafe_b64decode(t.reveal().split(".")[0] + "=="))["kid"] for t in signed]

    first, new = (await kids())[0], rotate(home, clock.now(), timedelta(hours=1)).added
    assert new is not None
    assert await kids() == [first, first]
    clock.advance(3599)
    assert await kids() == [first, first]
    clock.advance(1)
    assert await kids() == [new.kid, new.kid]


async def test_without_an_issuer_or_its_keys_a_person_must_act(home: Home, clock: ManualClock) -> None:
    unset = await outcome(tokens(home, clock, issuer_url=None), OWN)
    for path in home.key_folder(Service.TOKEN_BROKER).issuer_path.iterdir():
        path.unlink()
    lost = await outcome(tokens(home, clock), OWN)

    assert isinstance(unset, Refused)
    assert (unset.reason, "VREG_ISSUER_URL" in unset.remedy) == ("issuer_not_configured", True)
    assert isinstance(lost, Refused)
    assert (lost.reason, "vreg setup" in lost.remedy) == ("issuer_keys_missing", True)


async def test_a_token_file_is_read_anew_each_time(home: Home, clock: ManualClock, tmp_path: Path) -> None:
    file = tmp_path / "token"
    asked = tokens(home, clock, token_files={"irsa": file})
    for text in (FILE_TOKEN, FILE_TOKEN[:-4]):
        file.write_text(f"{text}\n")
        assert await asked.token(IDENTITY, NAMED) == Secret(text)


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (None, Refused, "token_file_unreadable"),
        (b"", Unavailable, "token_file_empty"),
        (b" \n", Unavailable, "token_file_empty"),
        (b"canary", Refused, "token_file_invalid"),
        (b"canary.canary", Refused, "token_file_invalid"),
        (b"can ary.a.b", Refused, "token_file_invalid"),
        (b"canary.a.b.c", Refused, "token_file_invalid"),
        (b"canary.a.b\ncanary.a.b", Refused, "token_file_invalid"),
        (b"\xffcanary.a.b", Refused, "token_file_invalid"),
        (b"canary.b." + b"c" * MAX_TOKEN_BYTES, Refused, "token_file_invalid"),
    ],
    ids=lambda each: each[:12] if isinstance(each, bytes) else None,
)
async def test_a_token_file_that_holds_none_says_what_to_do_and_not_what_it_holds(
    home: Home, tmp_path: Path, content: bytes | None, kind: type, reason: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)

    found = await outcome(tokens(home, ManualClock(), token_files={"irsa": file}), NAMED)

    assert (type(found), found.reason) == (kind, reason)
    assert "VREG_TOKEN_FILES" in (found.remedy if isinstance(found, Refused) else found.detail)
    assert str(file) in found.detail
    assert "canary" not in repr(found)


async def test_a_folder_or_an_unknown_name_is_no_token_file(
    home: Home, clock: ManualClock, tmp_path: Path
) -> None:
    folder = await outcome(tokens(home, clock, token_files={"irsa": tmp_path}), NAMED)
    unknown = await outcome(tokens(home, clock), NAMED)

    assert folder.reason == "token_file_unreadable"
    assert unknown.reason == "token_file_unknown"


@given(st.one_of(st.binary(max_size=200), st.text(".aZ9-_ \n", max_size=20).map(str.encode)))
async def test_whatever_is_in_a_token_file_is_a_token_or_an_outcome(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any-token"
    file.write_bytes(content)
    asked = GrantedIdentityTokens(replace(GRANTS, token_files={"irsa": file}), file.parent, ManualClock())
    if is_token(content):
        assert (await asked.token(IDENTITY, NAMED)).reveal().encode() == content.strip()
    else:
        assert (await outcome(asked, NAMED)).reason.startswith("token_file_")


def is_token(content: bytes) -> bool:
    parts = content.strip().split(b".")
    allowed = (string.ascii_letters + string.digits + "-_").encode()
    return len(parts) == 3 and all(part and not part.strip(allowed) for part in parts)


async def test_the_log_names_a_token_by_its_id_and_holds_neither_token_nor_key(
    home: Home, clock: ManualClock, tmp_path: Path, log: io.StringIO
) -> None:
    file = tmp_path / "token"
    file.write_text(FILE_TOKEN)
    asked = tokens(home, clock, token_files={"irsa": file})
    token = (await asked.token(IDENTITY, OWN)).reveal()
    await asked.token(IDENTITY, NAMED)
    said = await verified(token, clock.now(), lambda path: documents(home, path))
    key = read_issuer_keys(asked.issuer_keys).keys[0]

    assert said.raw["jti"] in log.getvalue()
    for secret in (*token.split("."), *FILE_TOKEN.split("."), "PRIVATE KEY"):
        assert secret not in log.getvalue()
    assert "PRIVATE" not in repr(key) + repr(asked)
