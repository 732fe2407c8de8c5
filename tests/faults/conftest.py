"""The keys all proxies of a run share, and the table of figures after a full run."""

import pytest

from tests.faults.edition import IS_FULL
from tests.faults.figures import FIGURES, print_figures
from tests.proxy.proxy_process import Keys
from tests.support.nats_server import UserNkey
from vreg_shared.key_files import Service


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Everybody's keys."""
    folder = tmp_path_factory.mktemp("keys") / "all"
    return Keys.make(folder, {service: UserNkey.generate().seed for service in Service})


def pytest_terminal_summary() -> None:
    """Print the figures of a full run."""
    if IS_FULL and FIGURES:
        print_figures()
