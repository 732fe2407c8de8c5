"""What the proxy tells Prometheus: of all its workers, as documented, and nothing private."""

import os
import re
import signal
from pathlib import Path
from typing import get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed
from structlog.testing import capture_logs

from tests.proxy.proxy_process import Keys, proxy_process, was_here_before
from tests.proxy.test_proxy_process import HEADERS, TOKEN, records
from tests.proxy.test_pulls import BLOB, BY_TAG, LAYER, MANIFEST, holding
from tests.support.clock import ManualClock
from tests.support.fake_server import serving
from tests.support.nats_server import UserNkey
from tests.support.ports import free_ports
from tests.support.registry_world import AUTHORITY
from tests.support.wait import eventually
from vreg_proxy.distribution.paths import Route
from vreg_proxy.distribution.surface import ROUTES
from vreg_proxy.workers import LOOK_SECONDS, SILENT_SECONDS, Report, Workers, forget_workers
from vreg_shared.key_files import Service
from vreg_shared.metrics import Meter, exposition

DOCUMENTED = re.compile(r"^\| `(vreg_proxy_\w+)` \|([^|]*)\|", re.MULTILINE)
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
Number = tuple[str, tuple[tuple[str, str], ...]]


def number(name: str, **labels: str) -> Number:
    return name, tuple(sorted(labels.items()))


def numbers(text: str) -> dict[Number, float]:
    return {
        number(sample.name, **sample.labels): sample.value
        for family in parsed(text)
        for sample in family.samples
    }


def told(text: str) -> dict[str, set[str]]:
    """Return every metric of an exposition with the labels it was seen with."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: {
            label for sample in family.samples for label in sample.labels
        }
        - {"le"}
        for family in parsed(text)
    }


async def test_one_address_tells_of_all_workers_what_is_documented_and_no_more(tmp_path: Path) -> None:
    keys = Keys.make(tmp_path / "keys", {service: UserNkey.generate().seed for service in Service})
    (metrics_port,) = free_ports(1)
    async with serving(holding(), AUTHORITY) as upstream:
        was_here_before(tmp_path, keys, records(upstream.authority))
        async with (
            proxy_process(
                tmp_path,
                keys,
                VREG_PROXY_WORKERS="2",
                VREG_PROXY_METRICS_LISTEN=f"127.0.0.1:{metrics_port}",
            ) as proxy,
            httpx.AsyncClient() as scraper,
        ):
            for path, body in ((BY_TAG, MANIFEST), (BLOB, LAYER)) * 3:
                async with httpx.AsyncClient(headers=HEADERS) as client:  # another connection, another worker
                    assert (await client.get(f"{proxy.url}{path}")).content == body
            assert (await scraper.get(f"{proxy.url}/metrics")).status_code == 404

            blobs = number("vreg_proxy_request_seconds_count", route="blob", method="GET", status="2xx")

            async def are_counted() -> bool:
                answer = await scraper.get(f"http://127.0.0.1:{metrics_port}/metrics")
                return numbers(answer.text).get(blobs) == 3

            await eventually(are_counted)
            os.kill(proxy.workers()[0], signal.SIGKILL)
            await eventually(lambda: len(proxy.workers()) == 2, deadline=30)
            async with httpx.AsyncClient() as afterwards:  # a connection kept may be of the killed one
                answer = await afterwards.get(f"http://127.0.0.1:{metrics_port}/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = numbers(answer.text)
    assert found[blobs] == 3
    assert found[number("vreg_proxy_sent_bytes_total")] == 3 * (len(LAYER) + len(MANIFEST))
    assert found[number("vreg_proxy_upstream_received_bytes_total", upstream="a")] == len(LAYER)
    assert found[number("vreg_proxy_upstream_answers_total", upstream="a", outcome="found")] == 2
    documented = {
        name: set(re.findall(r"`(\w+)`", labels)) for name, labels in DOCUMENTED.findall(DOCUMENT.read_text())
    }
    seen = told(answer.text)
    assert seen.keys() == documented.keys()
    assert all(labels <= documented[name] for name, labels in seen.items())
    for private in (TOKEN.reveal(), "team/app", upstream.authority, "127.0.0.1"):
        assert private not in answer.text


def test_every_kind_of_request_has_a_name() -> None:
    assert ROUTES.keys() == set(get_args(Route))
    assert len(set(ROUTES.values())) == len(ROUTES)


def counting(count: int) -> Meter:
    meter = Meter()
    meter.counter("x_total", "X.").add(amount=count)
    meter.gauge("y", "Y.", lambda: {(): count})
    return meter


def test_a_worker_that_ended_stays_in_the_sums_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = Workers(tmp_path, 2, clock), Workers(tmp_path, 2, clock)
    second._own = tmp_path / "second.json"  # noqa: SLF001 - two processes' files, in one process

    def obstacle() -> str | None:
        clock.advance(LOOK_SECONDS)
        return first.obstacle()

    assert obstacle() == "waiting_for_workers"
    first.report(None, counting(3).samples())
    assert obstacle() == "waiting_for_workers"
    second.report("waiting_for_leases", counting(4).samples())
    assert obstacle() == "waiting_for_leases"
    second.report("draining", counting(4).samples())
    assert obstacle() is None
    assert numbers(exposition(first.samples())) == {number("x_total"): 7, number("y"): 7}
    clock.advance(SILENT_SECONDS)
    first.report(None, counting(5).samples())
    assert obstacle() is None
    assert numbers(exposition(first.samples())) == {number("x_total"): 9, number("y"): 5}


def test_half_a_report_is_none(tmp_path: Path) -> None:
    workers, other = Workers(tmp_path, 1, ManualClock()), Workers(tmp_path, 1, ManualClock())
    other.report(None)
    whole = next(tmp_path.glob("*.json"))
    assert Report.model_validate_json(whole.read_bytes()).obstacle is None
    whole.write_bytes(whole.read_bytes()[:-5])
    assert workers.obstacle() == "waiting_for_workers"
    forget_workers(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("expected", [1, 4])
def test_a_disk_that_takes_no_reports_is_no_reason_to_wait(tmp_path: Path, expected: int) -> None:
    folder = tmp_path / "workers"
    folder.write_text("a file where the folder would be")
    workers = Workers(folder, expected, ManualClock())
    assert workers.obstacle() == "waiting_for_workers"
    workers = Workers(folder, expected, ManualClock())
    with capture_logs() as logs:
        workers.report(None)
        workers.report(None)
    assert (workers.obstacle(), workers.problem) == (None, "not_writable")
    assert [each["event"] for each in logs] == ["report_not_written"]
    folder.unlink()
    workers.report(None)
    assert workers.problem is None
