"""What the tests of rules, dashboard and scrapes share."""

from __future__ import annotations

import pytest

from .tools import Tools, found


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """Prometheus and promtool. A fixture, so that whoever runs no such test needs neither."""
    return found(tmp_path_factory.mktemp("prometheus-package"))
