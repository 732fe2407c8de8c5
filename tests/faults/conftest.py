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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what takes minutes to the full edition."""
    left_out = [item for item in items if item.get_closest_marker("full") and not IS_FULL]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary() -> None:
    """Print the figures of a full run."""
    if IS_FULL and FIGURES:
        print_figures()
