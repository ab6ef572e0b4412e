# SPDX-License-Identifier: MIT
"""The header: transactions of every shape, status, features and configuration."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario
from ivshmem_virtio.evil.driver.target import READY_FOR_QUEUES, Target
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.features import REQUIRED, Status
from ivshmem_virtio.transport.transaction import SIZES, Transaction

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 1 << 31, (1 << 32) - 1, 1 << 63)
MOST = (1 << 64) - 1
FURTHEST = 0xFFFF
READ_ONLY = (Header.REVISION, Header.SIZE, Header.DEVICE_FEATURES, Header.QUEUE_DEVICE_VECTOR, Header.CONFIG_GENERATION)
SOME = 32


def answered(target: Target, served: bool) -> Outcome:
    """After a transaction."""
    if target.broken:
        return Outcome.NEEDS_RESET
    return Outcome.REFUSED if served else Outcome.IGNORED


def words(make: Callable[[Attempt], int]) -> Callable[[Attempt], Outcome]:
    """Post the transaction word that ``make`` makes up."""

    def act(attempt: Attempt) -> Outcome:
        return answered(attempt.target, attempt.target.post(make(attempt)))

    return act


def offset_unknown(attempt: Attempt) -> int:
    fields = set(SIZES)
    return attempt.dice.choice([offset for offset in range(1, Header.CONFIG) if offset not in fields])


def size_wrong(attempt: Attempt) -> int:
    field = attempt.dice.choice(list(SIZES))
    sizes = [size for size in range(1, 16) if size not in SIZES[field]]
    return Transaction.of(field, attempt.dice.choice(sizes), attempt.dice.randrange(0x1000)).word


def read_only_field(attempt: Attempt) -> int:
    field = attempt.dice.choice(READ_ONLY)
    return Transaction.of(field, attempt.dice.choice((0, 2, 4)), attempt.dice.randrange(0x1000)).word


def garbage(attempt: Attempt) -> int:
    return attempt.dice.randrange(1, 1 << 32)


def config_past_end(attempt: Attempt) -> int:
    length = attempt.target.backend.config_length
    offset = attempt.dice.randrange(Header.CONFIG + length, FURTHEST + 1)
    return Transaction.of(offset, attempt.dice.choice((0, 1, 2, 4, 8)), 1).word


def config_over_end(attempt: Attempt) -> int:
    """The first byte is the configuration's last."""
    return Transaction.of(Header.CONFIG + max(attempt.target.backend.config_length, 1) - 1, 8, 1).word


def config_anywhere(attempt: Attempt) -> int:
    offset = Header.CONFIG + attempt.dice.randrange(max(attempt.target.backend.config_length, 1))
    return Transaction.of(offset, attempt.dice.randrange(16), attempt.dice.randrange(0x1000)).word


def one_sequence(attempt: Attempt) -> Outcome:
    """Every transaction has the number of the one before."""
    target = attempt.target
    word = Transaction.of(Header.QUEUE_SEL, 4, 7).word
    served = all(target.post(word) for _ in range(SOME))
    return Outcome.COMPLETED if served and not target.broken else answered(target, served)


def never_waits(attempt: Attempt) -> Outcome:
    """Transactions stored over transactions, without waiting for any."""
    target = attempt.target
    for number in range(SOME * SOME):
        target.window.store32(Header.WRITE_TRANSACTION, Transaction.of(Header.QUEUE_SEL, 4, number).word or 1)
        if number % SOME == 0:
            target.link.ring(target.backend.config_vector)
    target.transactions += SOME * SOME
    served = target.wait(lambda: target.window.load32(Header.WRITE_TRANSACTION) == 0)
    return Outcome.COMPLETED if served and not target.broken else answered(target, served)


def any_value(dice: Random) -> int:
    """Edges more often than not."""
    return dice.choice(EDGES) if dice.random() < 0.6 else dice.randint(0, MOST)


def mutated(attempt: Attempt) -> Outcome:
    """One transaction of a kind that exists, or nearly: field, size, value and number each right or made up."""
    target, dice = attempt.target, attempt.dice
    if dice.random() < 0.75:
        offset = dice.choice(list(SIZES))
    elif dice.random() < 0.5:
        offset = dice.randrange(0, Header.CONFIG + target.backend.config_length + 64)
    else:
        offset = dice.randrange(0, FURTHEST + 1)
    sizes = SIZES.get(offset, (4,))
    size = dice.choice(sizes) if dice.random() < 0.8 else dice.randrange(16)
    if offset < Header.CONFIG and offset not in (Header.REVISION, Header.SIZE, Header.WRITE_TRANSACTION):
        target.window.write(offset, any_value(dice).to_bytes(8, "little")[: sizes[0]])
    served = target.post(Transaction.of(offset, size, dice.randrange(0x1000)).word or 1)
    if target.broken:
        return Outcome.NEEDS_RESET
    return Outcome.COMPLETED if served else Outcome.IGNORED


def status(values: Callable[[Random], list[int]]) -> Callable[[Attempt], Outcome]:
    """Write one status after the other to a device that was reset."""

    def act(attempt: Attempt) -> Outcome:
        target = attempt.target
        target.reset()
        served = all(target.write(Header.DEVICE_STATUS, value) for value in values(attempt.dice))
        return answered(target, served)

    return act


def bits_cleared(dice: Random) -> list[int]:
    return [Status.ACKNOWLEDGE | Status.DRIVER, Status.ACKNOWLEDGE]


def needs_reset_written(dice: Random) -> list[int]:
    return [Status.ACKNOWLEDGE, Status.ACKNOWLEDGE | Status.NEEDS_RESET]


def driver_ok_first(dice: Random) -> list[int]:
    return [Status.DRIVER_OK]


def everything_at_once(dice: Random) -> list[int]:
    return [0xFFFFFFFF & ~Status.NEEDS_RESET & ~Status.FAILED]


def any_status(dice: Random) -> list[int]:
    return [dice.getrandbits(32) for _ in range(SOME)]


def features_not_offered(attempt: Attempt) -> Outcome:
    return negotiated(attempt, attempt.target.offered | 1 << attempt.dice.choice((24, 34, 35, 41, 50, 63)))


def features_missing(attempt: Attempt) -> Outcome:
    return negotiated(attempt, attempt.target.offered & ~attempt.dice.choice([*REQUIRED, REQUIRED]))


def features_random(attempt: Attempt) -> Outcome:
    return negotiated(attempt, attempt.dice.getrandbits(64))


def negotiated(attempt: Attempt, features: int) -> Outcome:
    """Have these features accepted; whether the device takes them."""
    target = attempt.target
    target.reset()
    target.accept(features)
    target.write(Header.DEVICE_STATUS, READY_FOR_QUEUES)
    if target.broken:
        return Outcome.NEEDS_RESET
    return Outcome.COMPLETED if target.status & Status.FEATURES_OK else Outcome.REFUSED


def features_late(attempt: Attempt) -> Outcome:
    """Features written behind FEATURES_OK are not to count: the ring still has what was agreed on."""
    attempt.target.accept(attempt.dice.getrandbits(64))
    return Outcome.NEEDS_RESET if attempt.target.broken else Outcome.REFUSED


def selectors(attempt: Attempt) -> Outcome:
    target = attempt.target
    for field in (Header.DEVICE_FEATURES_SEL, Header.DRIVER_FEATURES_SEL):
        target.write(field, attempt.dice.choice((2, 3, 0x80000000, 0xFFFFFFFF)))
        target.write(Header.DRIVER_FEATURES, 0xFFFFFFFF)
    return answered(target, True)


SCENARIOS = (
    Scenario("transaction-offset", "a header offset that is no field", words(offset_unknown)),
    Scenario("transaction-size", "a field in a size it does not have", words(size_wrong)),
    Scenario("transaction-read-only", "a field that only the device writes", words(read_only_field)),
    Scenario("transaction-garbage", "any 32 bits", words(garbage)),
    Scenario("transaction-sequence", "the same number for every transaction", one_sequence),
    Scenario("transaction-storm", "transactions over transactions, none waited for", never_waits),
    Scenario("transactions-mutated", "transactions with random mistakes in them, at full speed", mutated),
    Scenario("config-past-end", "the configuration behind its end", words(config_past_end)),
    Scenario("config-over-end", "eight bytes at the configuration's last", words(config_over_end)),
    Scenario("config-anywhere", "any byte of the configuration in any size", words(config_anywhere)),
    Scenario("status-cleared", "status bits taken back without a reset", status(bits_cleared)),
    Scenario("status-needs-reset", "the driver writes NEEDS_RESET", status(needs_reset_written)),
    Scenario("status-driver-ok", "DRIVER_OK before everything else", status(driver_ok_first)),
    Scenario("status-all", "every status bit at once", status(everything_at_once)),
    Scenario("status-random", "any status, again and again", status(any_status)),
    Scenario("features-unknown", "features that were not offered", features_not_offered),
    Scenario("features-missing", "without a feature that must be accepted", features_missing),
    Scenario("features-random", "any 64 feature bits", features_random),
    Scenario("features-late", "features after FEATURES_OK", features_late),
    Scenario("features-selectors", "feature words that do not exist", selectors),
)
