# SPDX-License-Identifier: MIT
"""What every test starts from."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.figures import Figures, recorder, reported, table

# How long an example takes, and making it up, says something about the machine, and nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Take SIGINT back: a job that a shell starts in the background ignores it, and so would every child of a test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Notes what a test measured, for the table at the end of the run."""
    item = request.node
    assert isinstance(item, pytest.Item)
    return recorder(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print that table, of tests that passed and of those that did not."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    lines = table(reported(reports))
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
