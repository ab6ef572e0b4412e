# SPDX-License-Identifier: MIT
"""What can go wrong for a driver: the back-end is away, breaks a rule of the protocol, or refuses what was asked."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class DriverError(IvshmemVirtioError):
    """Root of everything the driver side raises on purpose."""


class BackendAbsent(DriverError):
    """No back-end answers: its State Table entry is 0, or its heartbeat stands still."""


class BackendLost(BackendAbsent):
    """A back-end without an epoch went away: whatever comes next starts afresh."""


class EpochChanged(DriverError):
    """The back-end started the device afresh: rings and features of before mean nothing to it."""


class AcknowledgementTimedOut(DriverError):
    """The back-end is there but does not acknowledge this driver's incarnation."""


class TransactionTimedOut(DriverError):
    """The back-end is there but does not clear the transaction word."""


class FieldNotWritable(DriverError):
    """A transaction was asked for a header offset or size that the protocol has no transaction for."""


class BackendViolation(DriverError):
    """The back-end published something the protocol does not allow."""


class RevisionUnsupported(BackendViolation):
    """The header's revision is 0."""


class HeaderSizeInvalid(BackendViolation):
    """The header's size leaves no room for itself or none for buffers."""


class ExtensionInvalid(BackendViolation):
    """The header's extension does not lie where it must, or contradicts itself."""


class EpochInvalid(BackendViolation):
    """The extension's epoch is 0."""


class RingBlockInvalid(BackendViolation):
    """A host-placed ring block or a ring address shown for it does not lie where it must."""


class QueueSizeInvalid(BackendViolation):
    """A queue's largest size is not a power of two from 1 to 32768."""


class ConfigUnstable(BackendViolation):
    """config_generation never stood still long enough to read the configuration."""


class ConfigOutOfRange(DriverError):
    """A configuration access lies outside the device's configuration space, or has a size no transaction carries."""


class FeatureMissing(DriverError):
    """The device does not offer a feature that this transport cannot do without."""


class FeaturesRefused(DriverError):
    """The device did not accept the features the driver chose (virtio 1.4, 3.1.1)."""


class QueueMissing(DriverError):
    """The device has no queue of this index."""


class QueueBusy(DriverError):
    """The queue is enabled already."""


class QueueSizeRefused(DriverError):
    """The driver asked for a queue size the device cannot have."""


class QueueRefused(DriverError):
    """The device did not enable the queue."""


class ResetRefused(BackendViolation):
    """The device status does not read 0 after a reset."""


class QueueNotReset(DriverError):
    """The device did not reset a queue (virtio 1.4, 2.6.1.1.2)."""


class NotBroughtUp(DriverError):
    """The driver has not met a back-end yet."""


class DeviceNeedsReset(DriverError):
    """The device set DEVICE_NEEDS_RESET (virtio 1.4, 2.1.2)."""


class PoolExhausted(DriverError):
    """The window has no room for another buffer."""


class RequestTooLong(DriverError):
    """A request has more parts than the queue has descriptors (virtio 1.4, 2.7.5.3.1)."""


class PoolMisuse(DriverError):
    """A buffer was given back that the pool never handed out."""


class RequestTimedOut(DriverError):
    """The device did not return a request in time."""


class RequestFailed(DriverError):
    """The device returned a request with an error status, or shorter than it must be."""


class SectorOutOfRange(DriverError):
    """A block request that is not whole sectors inside the disk."""


class WrongDevice(DriverError):
    """The link carries another type of device."""


class LinkMissing(DriverError):
    """The directory has no such link."""


class LinkAmbiguous(DriverError):
    """Several links fit, and none was named."""


class LinkTaken(DriverError):
    """Another front-end is on the link."""
