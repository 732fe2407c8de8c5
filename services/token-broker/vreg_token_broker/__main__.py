"""`python -m vreg_token_broker`: check the settings, and keep leases fresh until told to stop."""

import asyncio
import os
import signal
import sys
from typing import Final, NoReturn

from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.errors import VregError
from vreg_shared.settings import SettingsError, load
from vreg_shared.telemetry import configure_logging
from vreg_token_broker.settings import BrokerSettings
from vreg_token_broker.trust_file import write_trust_file
from vreg_token_broker.wiring import BrokerKeys, open_ledger, serve

BAD_SETTINGS: Final = 2


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        settings = load(BrokerSettings)
        keys = BrokerKeys.read(settings)
        prepare(settings)
        asyncio.run(_serve(settings, keys))
    except VregError as error:
        sys.stderr.write(f"vreg_token_broker: {error}\n")
        return BAD_SETTINGS
    return 0


def prepare(settings: BrokerSettings) -> None:
    """Make the state folder and see that the egress settings can be read; raise SettingsError."""
    try:
        settings.broker_state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"VREG_BROKER_STATE: cannot make the folder {settings.broker_state}: {error.strerror}"
        ) from error
    write_trust_file(settings.broker_state, EgressPolicy.from_settings(settings).ca_pem)
    configure_logging("token-broker", settings.log_level, settings.log_format)


async def _serve(settings: BrokerSettings, keys: BrokerKeys) -> None:
    stopping, loop, clock = asyncio.Event(), asyncio.get_running_loop(), SystemClock()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ledger = await open_ledger(settings, keys, clock)
    await serve(settings, keys, ledger, clock, stopping)


def leave(code: int) -> NoReturn:
    """End now. A thread that waits for a silent cloud cannot be stopped, and would hold up the interpreter.

    All that matters is on disk; an exchange nobody heard the end of is recorded as unknown at the next start.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
