# SPDX-License-Identifier: MIT
"""What can go wrong between ivshmem peers and their server, one class per kind."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class PeerError(IvshmemVirtioError):
    """Something about peers, their server or their doorbells."""


class NoOwnVectors(PeerError):
    """A peer without a single vector cannot be one side of a link."""


class WireError(PeerError):
    """A message breaks the ivshmem-server protocol, version 0."""


class ValueOutOfRange(WireError):
    """A message is neither -1 nor a peer id from 0 to 65535."""


class StreamEndsInsideMessage(WireError):
    """The stream ends after some, not all, of the 8 bytes of a message."""


class TooManyDescriptors(WireError):
    """More than one descriptor came with one message."""


class UnexpectedDescriptor(WireError):
    """A descriptor came with a message that must not have one."""


class MissingDescriptor(WireError):
    """The message that announces the shared memory has no descriptor."""


class SecondMemory(WireError):
    """The shared memory is announced a second time."""


class OwnIdLeft(WireError):
    """The server says that this very peer is gone."""


class TooManyVectors(WireError):
    """A peer is given more vectors than MSI-X has (PCI 3.0, 6.8.2: 2048)."""


class WrongVersion(WireError):
    """The server speaks another version of the protocol."""


class ServerRefuses(PeerError):
    """The server has no place for this peer now: another one is on this guest's socket."""


class ServerUnreachable(PeerError):
    """Nobody listens on the server's socket."""


class ServerSilent(PeerError):
    """The server accepted, and then did not send what the handshake needs in time."""


class ServerClosed(PeerError):
    """The server closed the connection."""


class MemoryUnusable(PeerError):
    """The shared memory a server handed out cannot serve as a region."""


class SocketError(PeerError):
    """A listening socket cannot be set up."""


class SocketInUse(SocketError):
    """Another process listens on this path."""


class SocketPathTaken(SocketError):
    """Something that is no socket has this path."""


class SocketPathTooLong(SocketError):
    """A path does not fit into a socket address (unix(7): 107 bytes)."""


class SocketNotCreated(SocketError):
    """The system refuses to create the socket."""


class PeerIdTaken(PeerError):
    """Two peers are to have the same id."""


class PeerIdOutOfRange(PeerError):
    """A peer id lies outside 0 to 65535."""


class VectorCountOutOfRange(PeerError):
    """A peer is to have no vectors, or more than MSI-X has."""


class UnknownPeer(PeerError):
    """A peer is asked for that does not exist."""


class PciError(PeerError):
    """An ivshmem PCI function cannot be used."""


class NoPciFunction(PciError):
    """There is no ivshmem function (1af4:1110), or none at this address."""


class PciFunctionBusy(PciError):
    """A kernel driver that uses the function is bound to it."""


class PciResourceUnusable(PciError):
    """A BAR of the function is missing, too small or cannot be mapped."""
