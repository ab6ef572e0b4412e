# SPDX-License-Identifier: MIT
"""One service for the scenarios of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .hostile_site import Site, hostile_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With as many doorbells as a hostile driver needs to be quick."""
    with hostile_site(tmp_path_factory.mktemp("site"), "doorbell_rate = 1000000") as made:
        yield made
