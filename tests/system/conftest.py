from __future__ import annotations

import pytest

from otp import isolation, testing


@pytest.fixture(scope="session")
def pidns() -> None:
    """Skips the tests that isolate processes where that is not permitted."""
    if why := isolation.problem():
        pytest.skip(why)


def pytest_configure(config: pytest.Config) -> None:
    """Installed, the plugin is there already; in a plain checkout it has no entry point."""
    if not config.pluginmanager.is_registered(testing):
        config.pluginmanager.register(testing, "otp")
