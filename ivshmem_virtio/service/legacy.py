# SPDX-License-Identifier: MIT
"""What a keeper leaves to its successor, kept up to date while it lives: descriptors in a store, and what they are."""

from __future__ import annotations

from collections.abc import Mapping

from ivshmem_virtio.service.description import Description, Record
from ivshmem_virtio.service.descriptor_store import DescriptorStore

DESCRIPTION = "description"
"""Name of the description among the descriptors."""


class Legacy:
    """Owns the store and the description. Files are told apart by name: another file needs another name."""

    def __init__(self, store: DescriptorStore, description: Description | None = None, stored: set[str] | None = None):
        """``description`` and ``stored`` (names) are what is in the store already, in one that was taken over."""
        self._store = store
        self._stored = set(stored or ())
        if description is None:
            description = Description.new()
            self._stored.discard(DESCRIPTION)
        self._description = description

    @property
    def store(self) -> DescriptorStore:
        return self._store

    def update(self, record: Record, files: Mapping[str, int]) -> None:
        """From now on a successor finds this. At any instant it finds a whole record with all its files.

        Raises StoreLost.
        """
        files = {DESCRIPTION: self._description.descriptor, **files}
        self._store.put({name: number for name, number in files.items() if name not in self._stored})
        self._stored |= files.keys()
        self._description.write(record)
        gone = self._stored - files.keys()
        self._store.drop(gone)
        self._stored -= gone

    def end(self) -> None:
        """There will be no successor."""
        self._store.end()
        self._description.close()

    def close(self) -> None:
        """Leave everything to the successor."""
        self._store.close()
        self._description.close()
