"""Who may pull what: challenges, tokens, roles, and how soon a right ends."""

import base64
import json
from datetime import timedelta

import pytest

from tests.proxy.proxy_world import ACCESS_ID, EXTERNAL_URL, Answer, ProxyWorld, basic
from tests.proxy.test_pulls import BLOB, BY_DIGEST, BY_TAG, holding
from tests.support.clock import ManualClock
from vreg_proxy.distribution.tokens import InvalidClientTokenError, TokenMint
from vreg_shared.messages.access import hash_token, new_token
from vreg_shared.oci.challenge import parse_challenges
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey

SCOPE = "scope=repository%3Amain%2Fteam%2Fapp%3Apull"
PATHS = [
    BY_TAG,
    BY_DIGEST,
    BLOB,
    "/v2/main/team/app/tags/list",
    "/v2/main/team/app/referrers/" + BY_DIGEST.rpartition("/")[2],
]


async def token_for(world: ProxyWorld, token: Secret | None, query: str = SCOPE) -> Answer:
    return await world.get("/v2/token", token, query=query)


async def bearer_for(world: ProxyWorld, token: Secret | None, query: str = SCOPE) -> str:
    return str(json.loads((await token_for(world, token, query)).body)["token"])


async def test_a_stranger_is_sent_to_our_own_token_endpoint_whatever_he_calls_us(world: ProxyWorld) -> None:
    answer = await world.get(
        BY_TAG,
        headers={
            "host": "evil.example",
            "x-forwarded-host": "evil.example",
            "forwarded": "host=evil.example",
        },
    )
    (challenge,) = parse_challenges([answer.headers["www-authenticate"]])
    assert answer.status == 401
    assert challenge.parameters["realm"] == f"{EXTERNAL_URL}/v2/token"
    assert challenge.parameters["scope"] == "repository:main/team/app:pull"
    assert "evil" not in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", PATHS)
async def test_strangers_cannot_tell_which_registries_there_are(world: ProxyWorld, path: str) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    there = await world.get(path)
    absent = await world.get(path.replace("/main/", "/none/"))
    assert (there.status, there.body) == (absent.status, absent.body)
    assert there.status == 401


@pytest.mark.parametrize("path", PATHS)
async def test_no_right_and_no_registry_are_one_answer_before_anybody_is_asked(
    world: ProxyWorld, path: str
) -> None:
    server = await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access(registry_ids=("id-other",))
    no_right = await world.get(path, token)
    absent = await world.get(path.replace("/main/", "/none/"), token)
    assert (no_right.status, no_right.body) == (absent.status, absent.body)
    assert no_right.status == 404
    assert set(no_right.headers) == set(absent.headers)
    assert not server.seen


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("editor", 200), ("viewer", 200), ("puller", 200), ("auditor", 404)]
)
async def test_roles_that_may_pull(world: ProxyWorld, role: str, status: int) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    assert (await world.get(BY_TAG, world.access(role=role))).status == status


async def test_the_docker_flow_ends_in_a_pull(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    assert (await world.get("/v2/")).status == 401
    bearer = await bearer_for(world, token)
    assert (await world.get("/v2/", bearer=bearer)).body == b"{}"
    assert (await world.get(BY_TAG, bearer=bearer)).status == 200


async def test_a_token_holds_only_for_the_repository_it_was_asked_for(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    bearer = await bearer_for(world, world.access(), "scope=repository%3Amain%2Fother%3Apull")
    answer = await world.get(BY_TAG, bearer=bearer)
    assert answer.status == 401
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_a_token_never_holds_more_than_its_owner_may(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    bearer = await bearer_for(world, world.access(registry_ids=()), SCOPE)
    assert json.loads(base64.urlsafe_b64decode(bearer.split(".")[1] + "=="))["access"] == []
    assert (await world.get(BY_TAG, bearer=bearer)).status == 404


@pytest.mark.parametrize("change", ["revoke", "expire", "narrow", "rotate"])
async def test_a_right_that_ends_ends_at_once(world: ProxyWorld, change: str) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access(expires_at=world.clock.now() + timedelta(seconds=100))
    bearer = await bearer_for(world, token)
    assert (await world.get(BY_TAG, token)).status == (await world.get(BY_TAG, bearer=bearer)).status == 200
    match change:
        case "revoke":
            world.delete(f"access.{ACCESS_ID}")
        case "expire":
            world.clock.advance(101)
        case "narrow":
            record = world.configured.snapshot().access[ACCESS_ID]
            world.put("access", record.model_copy(update={"registry_ids": ()}))
        case "rotate":
            world.access()
    expected = 404 if change == "narrow" else 401
    assert (await world.get(BY_TAG, token)).status == expected
    if change != "rotate":  # a new secret leaves its owner's short tokens their five minutes
        assert (await world.get(BY_TAG, bearer=bearer)).status == expected


async def test_the_secret_before_the_last_ends_with_its_overlap_although_it_was_let_in(
    world: ProxyWorld,
) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    old = world.access()
    assert (await world.get(BY_DIGEST, old)).status == 200
    until = world.clock.now() + timedelta(seconds=60)
    new = world.access(previous_sha256=hash_token(old), previous_until=until)
    assert (await world.get(BY_DIGEST, old)).status == (await world.get(BY_DIGEST, new)).status == 200
    world.clock.advance(61)
    assert (await world.get(BY_DIGEST, old)).status == 401
    assert (await world.get(BY_DIGEST, new)).status == 200


async def test_an_anonymous_registry_needs_no_credential_and_takes_no_bad_one(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a", anonymous_pull=True)
    assert (await world.get(BY_TAG)).status == 200
    assert (await world.get(BY_TAG, bearer=await bearer_for(world, None))).status == 200
    assert (await world.get(BY_TAG, new_token(ACCESS_ID))).status == 401
    assert (await world.get(BY_TAG, world.access(role="auditor"))).status == 200


async def test_a_stranger_gets_no_token_for_anything_else(world: ProxyWorld) -> None:
    world.registry("main")
    private = await token_for(world, None)
    absent = await token_for(world, None, SCOPE.replace("main", "none"))
    assert (private.status, private.body) == (absent.status, absent.body)
    assert private.status == 401


async def test_a_token_begets_no_token(world: ProxyWorld) -> None:
    bearer = await bearer_for(world, world.access())
    assert (await world.get("/v2/token", bearer=bearer, query=SCOPE)).status == 401


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"user").decode(),
        basic("user", Secret("not a token")),
        basic("user", new_token(ACCESS_ID)),
        "Bearer",
        "Bearer a.b.c",
        "Bearer " + "x" * 20_000,
        "Digest abc",
        "",
    ],
)
async def test_a_bad_credential_is_a_401(world: ProxyWorld, header: str) -> None:
    world.access()
    for path in (BY_TAG, "/v2/", "/v2/token"):
        answer = await world.get(path, headers={"authorization": header})
        assert (answer.status, answer.error_code()) == (401, "UNAUTHORIZED")


async def test_a_configuration_nobody_confirms_lets_nobody_in(world: ProxyWorld) -> None:
    token = world.access()
    world.configured.too_old = True
    answer = await world.get("/v2/", token)
    assert (answer.status, answer.reason()) == (503, "configuration_too_old")


@pytest.mark.parametrize(
    "query", ["scope=" + "x" * 9000, "&".join(["scope=a"] * 100), "scope=%ff", "scope=repository"]
)
async def test_no_query_breaks_the_token_endpoint(world: ProxyWorld, query: str) -> None:
    assert (await token_for(world, world.access(), query)).status in {200, 400}


def forged(mint_key: SigningKey, now: int) -> list[str]:
    """Return tokens that must not be believed, each wrong in one way."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    header = {"alg": "EdDSA", "typ": "vreg-pull+jwt"}
    access = [{"type": "repository", "name": "main/team/app", "actions": ["pull"]}]
    claims = {
        "iss": "vreg-proxy", "aud": "registry.test", "sub": ACCESS_ID,
        "iat": now, "nbf": now, "exp": now + 300, "access": access,
    }  # fmt: skip

    def signed(header: object, claims: object, key: SigningKey = mint_key) -> str:
        text = f"{part(header)}.{part(claims)}"
        return f"{text}.{base64.urlsafe_b64encode(key.sign(text.encode())).rstrip(b'=').decode()}"

    good = signed(header, claims)
    head, body, signature = good.split(".")
    other = SigningKey.generate()
    pem = other.verifying.to_pem().decode()
    return [
        signed(header | {"alg": "none"}, claims),
        signed(header | {"alg": "HS256"}, claims),
        signed(header | {"alg": "eddsa"}, claims),
        signed({"alg": "EdDSA"}, claims),
        signed(header | {"typ": "JWT"}, claims),
        signed(header | {"typ": "at+jwt"}, claims),
        signed(header | {"crit": ["exp"]}, claims),
        signed(header, claims | {"aud": "other.test"}),
        signed(header, claims | {"aud": ["registry.test"]}),
        signed(header, claims | {"iss": "vreg-api"}),
        signed(header, claims | {"exp": now - 61}),
        signed(header, claims | {"exp": str(now + 300)}),
        signed(header, claims | {"exp": float(now + 300)}),
        signed(header, claims | {"exp": True}),
        signed(header, claims | {"nbf": now + 61}),
        signed(header, {name: value for name, value in claims.items() if name != "exp"}),
        signed(header, {name: value for name, value in claims.items() if name != "access"}),
        signed(header, claims | {"access": None}),
        signed(header, claims | {"sub": None}),
        signed(header, [claims]),
        signed(header, claims, other),
        signed(header | {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}, claims, other),
        signed(header | {"kid": "../../api.signing.pub"}, claims, other),
        signed(header | {"x5c": [pem]}, claims, other),
        f"{part({'alg': 'none', 'typ': 'vreg-pull+jwt'})}.{body}.",
        f"{head}.{part(claims | {'sub': 'another'})}.{signature}",
        f"{head}.{body}.{signature}=",
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}",
        f" {good}",
        good.replace(".", ".."),
        "..",
        "",
    ]


def test_only_our_own_tokens_are_believed() -> None:
    world_key = SigningKey.generate()
    now = ManualClock().now()
    mint = TokenMint(world_key, "registry.test")
    assert mint.read(mint.issue(ACCESS_ID, frozenset({"a/b"}), now), now).repositories == {"a/b"}
    tokens = forged(world_key, int(now.timestamp()))
    assert len(tokens) >= 30
    for token in tokens:
        with pytest.raises(InvalidClientTokenError):
            mint.read(Secret(token), now)
