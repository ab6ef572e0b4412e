# SPDX-License-Identifier: MIT
"""Lies in the header and in the back-end's line of the extension (docs/protocol.md, 4 and 6)."""

from __future__ import annotations

from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play
from ivshmem_virtio.link.layout import LINE_SIZE, BackendLine, Header

GROUP = Group()


def _lie_in_line(play: Play, field: BackendLine, value: int) -> None:
    for puppet in play.puppets:
        puppet.lies[puppet.extension + field] = value
        play.done += 1


def _choose(play: Play, offset: int, size: int, values: list[int]) -> None:
    """Publish another of ``values`` at every turn."""
    play.lie(offset, values[0])
    play.each_turn(lambda p: p.memory.store(offset, size, play.random.choice(values)))


def _choose_in_line(play: Play, field: BackendLine, size: int, values: list[int]) -> None:
    _lie_in_line(play, field, values[0])
    play.each_turn(lambda p: p.memory.store(p.extension + field, size, play.random.choice(values)))


@GROUP.early("header-size-small", "A header shorter than its registers, or than its extension.")
def header_size_small(play: Play) -> None:
    _choose(play, Header.SIZE, 4, [80, 0, 4, 75, 76, 100, 127, 128, 192])


@GROUP.early("header-size-huge", "A header longer than the window.")
def header_size_huge(play: Play) -> None:
    _choose(play, Header.SIZE, 4, [0xFFFFFFFF, 0x80000000, 0xFFFFFFC0, 1 << 30])


@GROUP.early("header-size-no-room", "A header that leaves no room for buffers.")
def header_size_no_room(play: Play) -> None:
    for puppet in play.puppets:
        puppet.lies[Header.SIZE] = puppet.memory.size - play.random.choice([0, 1, 64, 4096])
        play.done += 1


@GROUP.running("header-size-changes", "The header's size changes under running devices.")
def header_size_changes(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.SIZE, 4, play.random.getrandbits(32)))


@GROUP.early("extension-outside", "The extension lies outside the header, or the window.")
def extension_outside(play: Play) -> None:
    _choose(play, Header.EXT_OFFSET, 2, [0xFFFF, 1, 0x8000, 0x4000, 2])


@GROUP.early("extension-outside-small-header", "The extension lies outside the window, the header is tiny.")
def extension_outside_small_header(play: Play) -> None:
    play.lie(Header.SIZE, 80)
    for puppet in play.puppets:
        units = puppet.memory.size // LINE_SIZE
        puppet.lies[Header.EXT_OFFSET] = min(units + play.random.randrange(4096), 0xFFFF)
        play.done += 1


@GROUP.running("extension-moves", "The extension is somewhere else whenever one looks.")
def extension_moves(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.EXT_OFFSET, 2, play.random.getrandbits(16)))


@GROUP.early("extension-length", "The extension is said to be longer or shorter than it is.")
def extension_length(play: Play) -> None:
    _choose_in_line(play, BackendLine.LENGTH, 4, [0, 64, 0xFFFFFFC0, 0xFFFFFFFF, 1 << 20, 65])


@GROUP.early("revision", "Revisions that do not exist.")
def revision(play: Play) -> None:
    _choose(play, Header.REVISION, 4, [0, 3, 0xFFFFFFFF, 1, 2])


@GROUP.running("revision-changes", "The revision changes under running devices.")
def revision_changes(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.REVISION, 4, play.random.randrange(4)))


@GROUP.early("queue-count", "More queues, or fewer, than there are.")
def queue_count(play: Play) -> None:
    _choose_in_line(play, BackendLine.QUEUE_COUNT, 2, [0, 1, 0xFFFF, 64])


@GROUP.early("capabilities", "Capabilities come and go.")
def capabilities(play: Play) -> None:
    _choose_in_line(play, BackendLine.CAPABILITIES, 4, [0, 0xFFFFFFFF, 15, 7, 11, 13, 14])


@GROUP.running("capabilities-change", "Capabilities change under running devices.")
def capabilities_change(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(p.extension + BackendLine.CAPABILITIES, 4, play.random.getrandbits(4)))


@GROUP.early("config-length", "The configuration is longer or shorter than it is.")
def config_length(play: Play) -> None:
    _choose_in_line(play, BackendLine.CONFIG_LENGTH, 4, [0, 0xFFFFFFFF, 1, 1 << 20, 3, 4096])


@GROUP.early("config-vector", "Transactions are to ring a vector that nobody has.")
def config_vector(play: Play) -> None:
    _choose_in_line(play, BackendLine.BACKEND_CONFIG_VECTOR, 2, [0, 0xFFFF, 1, 64])


@GROUP.running("extension-garbage", "The back-end's whole line is random bytes.")
def extension_garbage(play: Play) -> None:
    play.each_turn(lambda p: p.memory.write(p.extension, play.random.randbytes(LINE_SIZE)))


@GROUP.running("driver-line-garbage", "The front-end's own line is overwritten.")
def driver_line_garbage(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.memory.write(puppet.extension + LINE_SIZE, play.random.randbytes(LINE_SIZE))
        puppet.muted = True

    play.each_turn(turn)


@GROUP.running("owner-words", "Owner words and hints of every queue are random.")
def owner_words(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in puppet.queues:
            puppet.memory.store(puppet.line(queue.index), 4, play.random.choice([0, 1, 2, 3, 0xFFFFFFFF]))
            puppet.memory.store(puppet.line(queue.index) + 4, 4, play.random.getrandbits(32))

    play.each_turn(turn)
