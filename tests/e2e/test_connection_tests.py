"""Connection tests of every auth method, in a running vreg: what passes, and what is said otherwise."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clouds.faults import Fault, Harm
from tests.e2e.cast import Cast, Member, cast, form
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

STAGES = ["address", "dns", "tls", "identity", "exchange", "credential", "registry"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    """All methods at work."""
    folder: Path = tmp_path_factory.mktemp("tests")
    async with cast(folder) as running:
        await running.set_up()
        yield running


async def ended(play: Cast, **wish: object) -> dict[str, Any]:
    """Run a connection test; return it as it ended."""
    answer = await play.stack.call("POST", "/connection_tests", json=wish)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    where = answer.headers["Location"].removeprefix("/api/v1")
    found: dict[str, Any] = {}

    async def is_over() -> bool:
        found.update((await play.stack.call("GET", where)).json())
        return bool(found["state"] != "running")

    await eventually(is_over, deadline=60)
    return found


def outcomes(test: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {stage["stage"]: (stage["outcome"], stage["reason"]) for stage in test["stages"]}


def image_of(member: Member, tag: str = "probe") -> str:
    member.push(f"probe-{member.tag}", tag)
    return f"{member.prepared.repository}:{tag}"


async def test_every_method_passes_stage_by_stage(play: Cast) -> None:
    for member in play.members:
        image = await asyncio.to_thread(image_of, member)
        test = await ended(play, upstream_id=member.upstream_id, probe=image)
        assert test["state"] == "passed", (member.tag, test)
        reached = outcomes(test)
        assert list(reached) == [*STAGES, "manifest", "blob", "tags"]
        assert reached.pop("dns") == ("skipped", "through_forward_proxy")
        assert reached.pop("tags")[0] in {"passed", "warned"}
        assert set(reached.values()) == {("passed", "")}, member.tag


async def test_a_repository_alone_is_probe_enough_where_tags_can_be_listed(play: Cast) -> None:
    member = play.members[0]
    test = await ended(play, upstream_id=member.upstream_id, probe=member.prepared.repository)
    assert test["state"] == "passed", test
    assert [stage["stage"] for stage in test["stages"]][-3:] == ["tags", "manifest", "blob"]


async def test_without_an_image_nothing_is_proved_and_a_missing_one_is_told_apart(play: Cast) -> None:
    for member in play.members[:1]:
        bare = await ended(play, upstream_id=member.upstream_id)
        assert (bare["state"], bare["reason"]) == ("incomplete", "probe_missing")
        missing = await ended(
            play, upstream_id=member.upstream_id, probe=f"{member.prepared.repository}:no-such-tag"
        )
        assert (missing["state"], missing["reason"]) == ("failed", "manifest_unknown")
        assert outcomes(missing)["registry"] == ("passed", "")


async def test_a_host_that_is_not_reached_is_told_apart_from_a_credential_that_is_not_had(play: Cast) -> None:
    member = next(each for each in play.members if each.provider == "aws")
    play.clouds.faults.add(Fault(Harm.UNREACHABLE, host=member.prepared.host, times=None))
    try:
        test = await ended(play, upstream_id=member.upstream_id, probe="any:1")
    finally:
        play.clouds.faults.clear()
    reached = outcomes(test)
    assert test["state"] == "failed"
    assert reached["tls"] == ("failed", "proxy_refused")
    assert reached["exchange"] == ("passed", "")
    assert reached["registry"] == ("skipped", "earlier_stage_failed")


async def test_a_draft_is_tested_with_its_secret_and_leaves_no_trace_but_its_result(play: Cast) -> None:
    for member in [each for each in play.members if each.prepared.method.secret_fields()]:
        upstream = (await play.stack.call("GET", f"/upstreams/{member.upstream_id}")).json()
        draft = {
            "name": "draft",
            "kind": upstream["kind"],
            "host": upstream["host"],
            "repository_prefix": upstream["repository_prefix"],
            "token_realm": upstream["token_realm"],
        }
        # As it is saved, its secret given again: external id and subject stay those the cloud trusts.
        change = {
            "auth_method": form(member.prepared.method),
            "usable_for": member.prepared.usable_for.model_dump(mode="json"),
        }
        before = (await play.stack.call("GET", f"/identities/{member.identity_id}")).json()
        image = await asyncio.to_thread(image_of, member)
        test = await ended(
            play, upstream={**draft, "identity_id": member.identity_id}, identity_change=change, probe=image
        )
        assert test["state"] == "passed", (member.tag, test)
        assert test["upstream_id"] is None
        assert (await play.stack.call("GET", f"/identities/{member.identity_id}")).json() == before
        told = json.dumps(test)
        assert not [secret for secret in member.prepared.secrets if secret in told]


async def test_stages_are_streamed_as_they_end(play: Cast) -> None:
    member = play.members[0]
    image = await asyncio.to_thread(image_of, member)
    started = await play.stack.call(
        "POST", "/connection_tests", json={"upstream_id": member.upstream_id, "probe": image}
    )
    events = (await play.stack.call("GET", f"/connection_tests/{started.json()['id']}/events")).text
    kinds = [line.removeprefix("event: ") for line in events.splitlines() if line.startswith("event: ")]
    assert kinds == ["stage"] * 10 + ["end"]


async def test_the_command_draws_the_stages_and_tells_by_its_exit_code(play: Cast) -> None:
    member = play.members[0]
    name = (await play.stack.call("GET", f"/upstreams/{member.upstream_id}")).json()["name"]
    image = await asyncio.to_thread(image_of, member)
    good = await asyncio.to_thread(vreg_test, play, name, "--probe", image)
    assert good.returncode == 0, good.stderr
    assert "manifest" in good.stdout
    assert "passed" in good.stdout
    bad = await asyncio.to_thread(vreg_test, play, member.upstream_id, "--probe", "no/such:image")
    assert bad.returncode == 1, bad.stderr
    assert "failed" in bad.stdout
    unknown = await asyncio.to_thread(vreg_test, play, "nobody")
    assert (unknown.returncode, "there is no upstream nobody" in unknown.stderr) == (2, True)


def vreg_test(play: Cast, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("vreg")), "test", *arguments]
    command += ["--api", f"http://127.0.0.1:{play.stack.api_port}"]
    environment = {"PATH": os.environ["PATH"], "VREG_API_TOKEN": play.stack.admin_token}
    return subprocess.run(  # noqa: S603 - our own program
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


async def test_a_refusal_is_explained_with_everything_filled_in(play: Cast) -> None:
    """What the cloud takes away last, for nothing works afterwards."""
    told = {}
    for member in [each for each in play.members if each.prepared.services]:
        image = await asyncio.to_thread(image_of, member)
        member.stage.refuse(member.prepared)
        test = await ended(play, upstream_id=member.upstream_id, probe=image)
        assert test["state"] == "failed", member.tag
        failure = next(stage for stage in test["stages"] if stage["outcome"] == "failed")
        assert failure["stage"] in {"exchange", "credential", "registry", "manifest"}, (member.tag, failure)
        assert failure["remedy"], (member.tag, failure)
        assert failure["detail"], (member.tag, failure)
        assert test["remedy_steps"], (member.tag, failure)
        told[member.tag] = (failure["stage"], failure["reason"])
    assert len(told) == 15
