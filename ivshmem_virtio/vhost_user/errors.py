# SPDX-License-Identifier: MIT
"""What can go wrong with a vhost-user daemon: one class for each kind of violation."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class VhostUserError(IvshmemVirtioError):
    """Root of everything a daemon can do to its front-end."""


class DaemonUnreachable(VhostUserError):
    """Nobody listens on the daemon's socket."""


class DaemonGone(VhostUserError):
    """The daemon closed the connection: the device is broken until it is attached anew."""


class DaemonSilent(VhostUserError):
    """The daemon did not answer, or did not take a message, in time."""


class ReplyVersionInvalid(VhostUserError):
    """A message has another version than 1, or is no reply where one is due."""


class ReplyToAnother(VhostUserError):
    """A reply belongs to another request than the one that was sent."""


class ReplyLengthInvalid(VhostUserError):
    """A reply has another length than its request calls for."""


class ReplyDescriptorUnexpected(VhostUserError):
    """A reply came with a file descriptor that nobody asked for."""


class RequestRefused(VhostUserError):
    """The daemon answered a request with an error (REPLY_ACK)."""


class FeaturesMissing(VhostUserError):
    """The daemon does not offer features that are needed."""


class ProtocolFeaturesMissing(VhostUserError):
    """The daemon does not offer protocol features that are needed."""


class TooFewVrings(VhostUserError):
    """The daemon has fewer queues than are to be used."""


class VringInUse(VhostUserError):
    """A queue is started twice, or one is stopped that was not started."""


class VringOutsideMemory(VhostUserError):
    """A part of a ring does not lie in the memory the daemon was given."""


class VringBaseInvalid(VhostUserError):
    """The daemon stops a queue at an index, or of a number, that it cannot have."""


class VringFailed(VhostUserError):
    """The daemon signalled an error of a queue on its error eventfd."""


class ConfigReplyInvalid(VhostUserError):
    """The daemon answered a read of the configuration space with other bytes than asked for, or with none."""


class SliceInvalid(VhostUserError):
    """Memory for a daemon is empty, not made of pages, or not inside its file."""
