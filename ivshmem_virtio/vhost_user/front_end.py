# SPDX-License-Identifier: MIT
"""A device that a stock vhost-user daemon serves, from its front-end's side: QEMU's role without a QEMU.

Order of use: ``connect``, ``negotiate``, ``read_config``, ``start_vring`` for each queue, then rings and eventfds are
the driver's and nothing here is in the data path. ``check`` now and then: a daemon that dislikes a ring closes the
connection, or signals an error, and its device is broken until somebody attaches anew.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.vhost_user.channel import Channel
from ivshmem_virtio.vhost_user.errors import (
    ConfigReplyInvalid,
    DaemonGone,
    FeaturesMissing,
    ProtocolFeaturesMissing,
    TooFewVrings,
    VringBaseInvalid,
    VringFailed,
    VringInUse,
)
from ivshmem_virtio.vhost_user.features import HIDDEN, USED_PROTOCOL_FEATURES, ProtocolFeature, VhostFeature
from ivshmem_virtio.vhost_user.messages import CONFIG_HEADER, LARGEST_CONFIG, Request
from ivshmem_virtio.vhost_user.shared_slice import SharedSlice
from ivshmem_virtio.vhost_user.vring import RingPlace, Vring

DEFAULT_SECONDS = 5.0
PACKED_START = 1 << 15 | 1 << 31
"""Index 0 with both wrap counters 1, as the base of a packed ring."""


class FrontEnd:
    """Owns the connection and the eventfds; descriptor and mapping of the memory stay the caller's."""

    def __init__(self, channel: Channel, memory: SharedSlice) -> None:
        self._channel = channel
        self._memory = memory
        self._vrings: dict[int, Vring] = {}
        self._offered = 0
        self.features = 0
        """Feature bits in use between driver and daemon, 0 before ``negotiate``."""
        self.protocol_features = ProtocolFeature(0)

    @classmethod
    def connect(cls, path: Path, memory: SharedSlice, *, seconds: float = DEFAULT_SECONDS) -> FrontEnd:
        """Meet the daemon at the socket ``path``; ``seconds`` bounds each request.

        Raises DaemonUnreachable, and any VhostUserError of a daemon that does not keep to the protocol.
        """
        channel = Channel.connect(path, seconds)
        try:
            front_end = cls(channel, memory)
            front_end._meet()
            return front_end
        except BaseException:
            channel.close()
            raise

    def _meet(self) -> None:
        (self._offered,) = self._channel.ask(Request.GET_FEATURES)
        if self._offered & VhostFeature.PROTOCOL_FEATURES:
            (offered,) = self._channel.ask(Request.GET_PROTOCOL_FEATURES)
            self.protocol_features = ProtocolFeature(offered & USED_PROTOCOL_FEATURES)
            self._channel.tell(Request.SET_PROTOCOL_FEATURES, self.protocol_features)
            self._channel.acknowledged = bool(self.protocol_features & ProtocolFeature.REPLY_ACK)
        self._channel.tell(Request.SET_OWNER)

    @property
    def device_features(self) -> int:
        """What the daemon offers to a driver."""
        return self._offered & ~HIDDEN

    def queue_count(self) -> int:
        """Largest number of queues; 1 where the daemon does not say (protocol feature MQ)."""
        if not self.protocol_features & ProtocolFeature.MQ:
            return 1
        return self._channel.ask(Request.GET_QUEUE_NUM)[0]

    def negotiate(self, features: int) -> None:
        """Have the device work with exactly these features, then give it the memory.

        Bits that are no affair of a daemon's (ACCESS_PLATFORM, ...) are left out. Raises FeaturesMissing.
        """
        wanted = features & ~HIDDEN
        missing = (wanted | Feature.VERSION_1) & ~self._offered
        if missing:
            raise FeaturesMissing(f"the daemon lacks feature bits {missing:#x}: it offers {self.device_features:#x}")
        protocol = self._offered & VhostFeature.PROTOCOL_FEATURES
        self._channel.tell(Request.SET_FEATURES, wanted | Feature.VERSION_1 | protocol)
        self.features = wanted | Feature.VERSION_1
        self._channel.tell(Request.SET_MEM_TABLE, *self._memory.table, descriptors=[self._memory.descriptor])

    def read_config(self, offset: int, length: int) -> bytes:
        """Bytes of the device's configuration space, 256 at most.

        Raises ProtocolFeaturesMissing for a daemon that leaves configuration to its front-end, ConfigReplyInvalid.
        """
        if not self.protocol_features & ProtocolFeature.CONFIG:
            raise ProtocolFeaturesMissing("the daemon does not serve a configuration space: its front-end has to")
        if offset < 0 or length < 1 or offset + length > LARGEST_CONFIG:
            raise ConfigReplyInvalid(
                f"{length} bytes at {offset}: a daemon has up to {LARGEST_CONFIG} of configuration"
            )
        question = CONFIG_HEADER.pack(offset, length, 0) + bytes(length)
        answer = self._channel.ask_raw(Request.GET_CONFIG, question, len(question))
        if answer[: CONFIG_HEADER.size] != question[: CONFIG_HEADER.size]:
            found = CONFIG_HEADER.unpack_from(answer)
            raise ConfigReplyInvalid(f"asked for {length} bytes at {offset}, answered {found[1]} at {found[0]}")
        return answer[CONFIG_HEADER.size :]

    def start_vring(self, index: int, place: RingPlace, *, base: int = 0) -> Vring:
        """Let the daemon serve a queue; ``base`` is where both indices of a split ring stand.

        Raises VringInUse, VringOutsideMemory, TooFewVrings.
        """
        if index in self._vrings:
            raise VringInUse(f"queue {index} was started already: stop it first")
        count = self.queue_count()
        if not 0 <= index < count:
            raise TooFewVrings(f"queue {index} does not exist: the daemon has {count}")
        addresses = [self._memory.user_address(*part) for part in place.parts]
        vring = Vring(index, place)
        try:
            self._hand_over(vring, addresses, PACKED_START if place.packed else base)
        except BaseException:
            vring.close()
            raise
        self._vrings[index] = vring
        return vring

    def _hand_over(self, vring: Vring, addresses: list[int], base: int) -> None:
        tell, index = self._channel.tell, vring.index
        desc, driver, device = addresses
        tell(Request.SET_VRING_NUM, index, vring.place.size)
        tell(Request.SET_VRING_BASE, index, base)
        tell(Request.SET_VRING_ADDR, index, 0, desc, device, driver, 0)
        tell(Request.SET_VRING_ERR, index, descriptors=[vring.error])
        tell(Request.SET_VRING_CALL, index, descriptors=[vring.call])
        tell(Request.SET_VRING_KICK, index, descriptors=[vring.kick])
        if self._offered & VhostFeature.PROTOCOL_FEATURES:
            tell(Request.SET_VRING_ENABLE, index, 1)

    def stop_vring(self, index: int) -> int:
        """Take a queue back; the index at which the daemon stopped. Only for one with nothing in flight.

        Raises VringInUse for a queue that was not started, VringBaseInvalid.
        """
        vring = self._vrings.get(index)
        if vring is None:
            raise VringInUse(f"queue {index} was not started")
        number, base = self._channel.ask(Request.GET_VRING_BASE, index, 0)
        if number != index or (base > 0xFFFF and not vring.place.packed):
            raise VringBaseInvalid(f"asked where queue {index} stopped, answered queue {number} at {base}")
        del self._vrings[index]
        vring.close()
        return base

    def check(self) -> None:
        """Raises DaemonGone after the daemon closed the connection, VringFailed for an error it signalled."""
        for vring in self._vrings.values():
            if vring.failed():
                raise VringFailed(f"the daemon signalled an error of queue {vring.index}: its device is broken")
        if self._channel.at_end():
            raise DaemonGone("the daemon closed the connection: its device is broken, attach anew")

    def fileno(self) -> int:
        """Readable when ``check`` has something to say about the connection."""
        return self._channel.fileno()

    def close(self) -> None:
        """Leave: the daemon lets go of the memory. May be called twice."""
        self._channel.close()
        while self._vrings:
            self._vrings.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
