# SPDX-License-Identifier: MIT
"""The device side of the header: sequences of transactions, states, kicks and deaths from a driver without manners.

The device behind it is a trivial one. What an input can do is in ``STEPS``.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.driver_by_hand import DriverByHand
from fuzz.echo import SIZES, Echo
from fuzz.guarded import PAGE, guarded_window
from fuzz.script import Script
from fuzz.silent_link import SilentLink
from fuzz.turns import LOOP, turn, wait
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.link.layout import FRONTEND, Header, Owner, QueueLine, State, next_owner_word
from ivshmem_virtio.transport.device import TRANSACTIONS_PER_LOOK, DeviceTransport
from ivshmem_virtio.transport.features import Status
from ivshmem_virtio.transport.kept_link import KeptLink

LINK = SilentLink(2 * PAGE)
KEPT = guarded_window(PAGE)
CONFIG_LENGTH = 12
KEPT_AT = PAGE - KeptLink.length(SIZES, CONFIG_LENGTH)
LOG = fail_on_traceback()


class Session:
    """A device on a link, killed and started as the script wants."""

    def __init__(self, script: Script) -> None:
        LINK.clear()
        KEPT.zero(0, PAGE)
        self.script = script
        shape = script.byte()
        self.keeps = bool(shape & 1)
        self.resumable = not shape & 2
        self.start()
        self.driver: DriverByHand = DriverByHand(script, LINK, self.transport.registers.layout, self.look)

    def run(self) -> None:
        """Until the script ends."""
        try:
            while self.script.more:
                self.script.choose(STEPS)(self)
        finally:
            self.end()

    # -- the device's life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.device = Echo(resumable=self.resumable)
        self.transport = DeviceTransport(LINK.backend, self.device, LOOP)
        self.transport.start(KeptLink(KEPT, KEPT_AT, SIZES, CONFIG_LENGTH) if self.keeps else None)
        LOG.check()

    def end(self) -> None:
        """In good order, which leaves nothing on the loop."""
        self.transport.stop()
        turn(2)
        LOG.check()

    def restart(self) -> None:
        self.end()
        self.start()

    def kill(self) -> None:
        """Without a word: the header, the State Table and what was kept stay as they are."""
        kept, table = KEPT.read(0, PAGE), LINK.table.read(0, 8)
        window = LINK.window.read(0, LINK.window.length)
        self.transport.stop()
        turn()
        KEPT.write(0, kept)
        LINK.window.write(0, window)
        LINK.table.write(0, bytes(4) + table[4:])
        if self.script.byte() & 1:
            self.script.choose(WHILE_AWAY)(self)
        self.start()

    def poke_kept(self) -> None:
        """Any aligned word of what is kept."""
        width = self.script.width()
        place = KEPT_AT + (self.script.number(2) % (PAGE - KEPT_AT) & -width)
        KEPT.write(place, self.script.bytes(width))

    # -- looks ---------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """One look, and whatever it left to be done at once. Who waits for rings does not look."""
        if LINK.backend.own_state() != State.RESUMING:
            self.transport.look()
        turn()
        LOG.check()
        self.check()

    def check(self) -> None:
        """What is so whatever the driver does."""
        transport = self.transport
        if transport.status & Status.FEATURES_OK:
            assert not transport.features & ~transport.offered or transport.status & Status.NEEDS_RESET
        assert not self.device.active or transport.status & Status.DRIVER_OK
        assert not self.device.active or not transport.status & Status.NEEDS_RESET
        transport.describe()

    def look_at_many(self) -> None:
        """More transactions than one look takes, each posted while another is being served."""
        left = self.script.byte() + 1

        def post() -> None:
            nonlocal left
            left -= 1
            LINK.window.store32(Header.WRITE_TRANSACTION, (Header.CONFIG + 4) | left << 20)
            self.device.meanwhile = post if left > 0 else None

        self.device.meanwhile = post
        self.driver.write(Header.CONFIG + 4, 0, 4, 4)
        turn(1 + 256 // TRANSACTIONS_PER_LOOK)
        self.device.meanwhile = None
        LOG.check()

    def act_meanwhile(self) -> None:
        """A store that lands while the device is at work on the next request or configuration write."""
        width = self.script.width()
        place = self.script.place(LINK.window.length) & -width
        data = self.script.bytes(width)
        if place + width <= LINK.window.length:
            self.device.meanwhile = lambda: LINK.window.write(place, data)

    def change_config(self) -> None:
        """The device has something new to say."""
        self.device.number = self.script.byte()
        self.transport.config_changed()
        self.transport.registers.beat()

    def ask(self) -> None:
        """A good request, on a queue that may not be what the driver believes."""
        queue = self.script.below(len(SIZES))
        self.driver.request(queue, [self.script.bytes(self.script.below(16))], [self.script.below(32)])

    def wait(self) -> None:
        """For what is done in time: looks without a doorbell, a back-end that waits for a stand-in."""
        wait(self.script.byte() / 64)
        LOG.check()

    def stand_in(self) -> None:
        """The front-end's stand-in takes a ring, answers in it, gives it back; or somebody stores any owner word."""
        queue, how = self.script.below(len(SIZES)), self.script.byte()
        place = self.driver.registers.queue_line(queue) + QueueLine.OWNER
        word = next_owner_word(LINK.window.load32(place), Owner.FRONTEND)
        if how & 1:
            word = next_owner_word(word, Owner.NOBODY)
        LINK.window.store32(place, self.script.number(4) if how & 2 else word)
        if how & 4:
            used = self.driver.placed(queue).device + 2
            LINK.window.store16(used, LINK.window.load16(used) + (how >> 4) & 0xFFFF)

    def fail_before(self) -> None:
        """Processes before this one have ended while they went on."""
        KeptLink(KEPT, KEPT_AT, SIZES, CONFIG_LENGTH).tries = self.script.below(8)

    def leave(self) -> None:
        """The front-end is gone, and somebody else comes."""
        LINK.set_other_state(FRONTEND, State.ABSENT)
        self.look()
        LINK.set_other_state(FRONTEND, State.READY)


def by_driver(step: Callable[[DriverByHand], None]) -> Callable[[Session], None]:
    return lambda session: step(session.driver)


STEPS: tuple[Callable[[Session], None], ...] = (
    *[by_driver(step) for step in (
        DriverByHand.transact, DriverByHand.transact_nonsense, DriverByHand.bring_up, DriverByHand.claim_peer,
        DriverByHand.set_state, DriverByHand.poke, DriverByHand.descriptor, DriverByHand.make_available,
    )],
    Session.restart, Session.kill, Session.poke_kept, Session.look, Session.look_at_many, Session.act_meanwhile,
    Session.change_config, Session.ask, Session.leave, Session.wait, Session.stand_in,
)  # fmt: skip


WHILE_AWAY: tuple[Callable[[Session], None], ...] = (
    Session.poke_kept,
    lambda session: session.driver.poke(),
    lambda session: LINK.window.store32(Header.WRITE_TRANSACTION, session.script.number(4)),
    lambda session: LINK.set_other_state(FRONTEND, session.script.byte()),
    Session.stand_in,
    Session.stand_in,
    Session.fail_before,
)


def run(data: bytes) -> None:
    """One input."""
    Session(Script(data)).run()
