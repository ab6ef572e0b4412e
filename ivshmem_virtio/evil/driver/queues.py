# SPDX-License-Identifier: MIT
"""Queues set up where, when and as large as they cannot be."""

from __future__ import annotations

from collections.abc import Callable

from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.places import QueuePlace
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario
from ivshmem_virtio.evil.driver.target import READY_FOR_QUEUES, Target
from ivshmem_virtio.link.layout import Header

AREAS = (Header.QUEUE_DESC, Header.QUEUE_DRIVER, Header.QUEUE_DEVICE)
ALIGNMENT = {Header.QUEUE_DESC: 16, Header.QUEUE_DRIVER: 2, Header.QUEUE_DEVICE: 4}
SOME = 16


def selected(attempt: Attempt) -> QueuePlace:
    """A device that waits for its queues, one of them selected."""
    target = attempt.target
    target.reset()
    target.accept(target.offered)
    target.write(Header.DEVICE_STATUS, READY_FOR_QUEUES)
    place = attempt.dice.choice(target.places)
    target.write(Header.QUEUE_SEL, place.index)
    for field, address in zip(AREAS, (place.ring.desc, place.ring.driver, place.ring.device), strict=True):
        target.write(field, address)
    return place


def enabled(target: Target) -> Outcome:
    """Say queue_enable, and see what came of it."""
    target.write(Header.QUEUE_ENABLE, 1)
    if target.broken:
        return Outcome.NEEDS_RESET
    return Outcome.COMPLETED if target.window.load16(Header.QUEUE_ENABLE) == 1 else Outcome.REFUSED


def area_at(choose: Callable[[Attempt, int], int]) -> Callable[[Attempt], Outcome]:
    """One of the three areas of a queue at an address that ``choose`` makes up for its header field."""

    def act(attempt: Attempt) -> Outcome:
        selected(attempt)
        field = attempt.dice.choice(AREAS)
        attempt.target.write(field, choose(attempt, field))
        return enabled(attempt.target)

    return act


def misaligned(attempt: Attempt, field: int) -> int:
    return attempt.target.places[0].room.start + attempt.dice.randrange(1, ALIGNMENT[Header(field)])


def outside(attempt: Attempt, field: int) -> int:
    length = attempt.target.window.length
    return attempt.dice.choice((length, length - 16, 1 << 32, 1 << 63))


def overflowing(attempt: Attempt, field: int) -> int:
    return (1 << 64) - 16 * attempt.dice.randrange(1, SOME)


def over_registers(attempt: Attempt, field: int) -> int:
    return 16 * attempt.dice.randrange(attempt.target.backend.registers_end // 16)


def areas_overlap(attempt: Attempt) -> Outcome:
    """All three areas at the same place: nonsense, but inside the window."""
    place = selected(attempt)
    for field in AREAS:
        attempt.target.write(field, place.room.start)
    return enabled(attempt.target)


def size_wrong(attempt: Attempt) -> Outcome:
    place = selected(attempt)
    attempt.target.write(Header.QUEUE_SIZE, attempt.dice.choice((0, 3, place.size - 1, 2 * place.size, 0xFFFF)))
    return enabled(attempt.target)


def before_features(attempt: Attempt) -> Outcome:
    attempt.target.reset()
    attempt.target.write(Header.QUEUE_SEL, 0)
    return enabled(attempt.target)


def no_such_queue(attempt: Attempt) -> Outcome:
    """Select what does not exist, and write each of its fields."""
    target = attempt.target
    target.write(Header.QUEUE_SEL, attempt.dice.choice((len(target.places), 0xFFFF, 0xFFFFFFFF, 1 << 31)))
    for field in (*AREAS, Header.QUEUE_SIZE, Header.QUEUE_DRIVER_VECTOR):
        target.write(field, attempt.dice.getrandbits(64))
    return enabled(target)


def enable_nonsense(attempt: Attempt) -> Outcome:
    """queue_enable is neither 0 nor 1."""
    selected(attempt)
    attempt.target.write(Header.QUEUE_ENABLE, attempt.dice.randrange(2, 0x10000))
    return Outcome.NEEDS_RESET if attempt.target.broken else Outcome.REFUSED


def moved_while_live(attempt: Attempt) -> Outcome:
    """The addresses of a queue that is enabled are written; the device is to stay where it is."""
    target = attempt.target
    target.write(Header.QUEUE_SEL, attempt.ring.place.index)
    for field in (*AREAS, Header.QUEUE_SIZE):
        target.write(field, attempt.dice.getrandbits(64))
    return Outcome.NEEDS_RESET if target.broken else Outcome.REFUSED


def reset_again_and_again(attempt: Attempt) -> Outcome:
    """Queue reset and enabling in turn (virtio 1.4, 2.6.1), while the device is at work."""
    target = attempt.target
    target.write(Header.QUEUE_SEL, attempt.ring.place.index)
    outcome = Outcome.REFUSED
    for _ in range(SOME):
        target.write(Header.QUEUE_ENABLE, 0)
        target.link.ring(attempt.ring.place.vector)
        outcome = enabled(target)
    return outcome


def vector_nonsense(attempt: Attempt) -> Outcome:
    """The device is to ring vectors that nobody has, or that are another link's."""
    target, ring = attempt.target, attempt.ring
    target.write(Header.QUEUE_SEL, ring.place.index)
    target.write(Header.QUEUE_DRIVER_VECTOR, attempt.dice.randrange(1, 0x10000))
    ring.descriptor(0, ring.place.room.start, 64, 2)
    ring.offer([0])
    ring.kick()
    return Outcome.COMPLETED if target.wait(lambda: ring.used == ring.position) else Outcome.IGNORED


SCENARIOS = (
    Scenario("queue-misaligned", "an area of a queue at an odd address", area_at(misaligned), "RingAddressInvalid"),
    Scenario("queue-outside", "an area of a queue outside the window", area_at(outside), "RingAddressInvalid"),
    Scenario("queue-overflow", "an area that ends at 2^64", area_at(overflowing), "RingAddressInvalid"),
    Scenario("queue-registers", "an area over the header", area_at(over_registers), "RingAddressInvalid"),
    Scenario("queue-overlap", "all areas of a queue at one place", areas_overlap),
    Scenario("queue-size", "a size that is no power of two, or too large", size_wrong, "RingViolation"),
    Scenario("queue-early", "a queue enabled before FEATURES_OK", before_features, "RingViolation"),
    Scenario("queue-missing", "a queue that does not exist", no_such_queue),
    Scenario("queue-enable-nonsense", "queue_enable neither 0 nor 1", enable_nonsense),
    Scenario("queue-moved", "addresses written while the queue is live", moved_while_live),
    Scenario("queue-reset-storm", "a queue reset and enabled in turn", reset_again_and_again),
    Scenario("queue-vector", "used buffers to be told on vectors nobody has", vector_nonsense),
)
