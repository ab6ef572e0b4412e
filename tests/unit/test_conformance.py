# SPDX-License-Identifier: MIT
"""Rules of virtio 1.4 that no other test is about; docs/conformance.md says which test shows which rule."""

from __future__ import annotations

import os

import pytest

from ivshmem_virtio.devices.net_header import GUEST_OFFLOADS, HOST_OFFLOADS
from ivshmem_virtio.devices.net_header import Feature as NetFeature
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.driver.errors import FeatureMissing, FeaturesRefused, NotBroughtUp, QueueNotReset
from ivshmem_virtio.transport.driver.net import FEATURE_MAC, NetDriver
from ivshmem_virtio.transport.features import OFFERED, Feature, Status
from ivshmem_virtio.transport.negotiation import Negotiation
from ivshmem_virtio.transport.state_machine import StateMachine
from tests.unit.driver_link_pair import Bench, bench
from tests.unit.split_rig import BUFFER, DEVICE, DRIVER, WRITE, RawRing

NOTIFICATION_DATA, NOTIF_CONFIG_DATA, ADMIN_VQ, SR_IOV = 1 << 38, 1 << 39, 1 << 41, 1 << 37


def rings(eventfd: int) -> int:
    """How often an eventfd was rung since the last call."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


def negotiated(b: Bench) -> None:
    """Everything but DRIVER_OK."""
    b.driver.bring_up()
    b.driver.negotiate(b.mirror.features)
    for index in range(len(b.mirror.sizes)):
        b.driver.setup_queue(index)


def test_nothing_is_consumed_or_announced_before_driver_ok() -> None:
    with bench() as b:
        negotiated(b)
        ring = b.driver.queues[0]
        request = ring.submit([b"abc"], [3])
        ring.kick()
        rings(b.pair.frontend_vectors[ring.vector])
        for _ in range(3):
            b.device.look()
        assert b.mirror.handled == 0
        assert ring.collect() == []
        assert not rings(b.pair.frontend_vectors[ring.vector])
        b.driver.ready()
        assert b.driver.complete(ring, request).data == b"cba"


def test_the_driver_rings_no_queue_before_driver_ok() -> None:
    with bench() as b:
        negotiated(b)
        vectors = b.pair.backend_vectors[1:]
        for eventfd in vectors:
            rings(eventfd)
        ring = b.driver.queues[0]
        ring.submit([b"abc"], [3])
        ring.kick()
        b.driver._away = True
        b.driver.present()
        assert not any(rings(eventfd) for eventfd in vectors)
        b.driver.ready()
        assert any(rings(eventfd) for eventfd in vectors)


def test_needs_reset_comes_with_a_configuration_change_notification() -> None:
    with bench() as b:
        b.bring_up()
        assert not b.driver.config_changed()
        rings(b.pair.frontend_vectors[0])
        b.device.give_up(None)
        assert b.driver.status & Status.NEEDS_RESET
        assert b.driver.config_changed()
        assert rings(b.pair.frontend_vectors[0])


def test_after_a_reset_the_device_leaves_driver_and_queues_alone() -> None:
    with bench() as b:
        b.bring_up()
        ring = b.driver.queues[0]
        b.mirror.hold = True
        ring.submit([b"abc"], [3])
        ring.kick()
        b.driver.write_register(Header.DEVICE_STATUS, 0)
        assert b.driver.status == 0
        for eventfd in b.pair.frontend_vectors:
            rings(eventfd)
        b.mirror.hold = False
        for _ in range(3):
            b.device.look()
        assert b.mirror.handled == 0
        assert ring.collect() == []
        assert not any(rings(eventfd) for eventfd in b.pair.frontend_vectors)


def test_the_same_features_are_accepted_again_after_a_reset() -> None:
    with bench() as b:
        b.bring_up()
        features = b.driver.features
        for _ in range(3):
            b.driver.reset()
            b.driver.bring_up()
            assert b.driver.negotiate(b.mirror.features) == features


def test_configuration_is_readable_before_features_ok() -> None:
    with bench() as b:
        b.driver.bring_up()
        assert not b.driver.status & Status.FEATURES_OK
        assert b.driver.read_config(0, len(b.mirror.config)) == b.mirror.config


def test_configuration_is_not_written_before_features_ok() -> None:
    with bench() as b:
        b.driver.bring_up()
        with pytest.raises(NotBroughtUp, match="negotiate comes first"):
            b.driver.write_config(4, b"abcd")
        assert b.mirror.number == 0
        b.driver.negotiate()
        b.driver.write_config(4, b"abcd")
        assert b.mirror.number == 1


def test_a_field_without_its_feature_is_not_read() -> None:
    with bench() as b:
        b.driver.bring_up()
        read = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(b.driver, "read_config", lambda *where: read.append(where))
            driver = NetDriver(b.driver)
        assert not driver.features & FEATURE_MAC
        assert read == []


@pytest.mark.parametrize(
    "bit", [Feature.RING_PACKED, Feature.IN_ORDER, NOTIFICATION_DATA, NOTIF_CONFIG_DATA, ADMIN_VQ, SR_IOV, 1 << 24]
)
def test_features_of_other_layouts_and_transports_are_neither_offered_nor_accepted(bit: int) -> None:
    with bench() as b:
        b.driver.bring_up()
        assert not b.driver.device_features() & bit
        for word in (1, 0):
            b.driver.write_register(Header.DRIVER_FEATURES_SEL, word)
            b.driver.write_register(Header.DRIVER_FEATURES, (int(OFFERED) | int(bit)) >> 32 * word & 0xFFFFFFFF)
        b.driver.add_status(Status.FEATURES_OK)
        assert not b.driver.status & Status.FEATURES_OK


def test_what_is_offered_beside_the_devices_own_bits() -> None:
    known = Feature.INDIRECT_DESC | Feature.EVENT_IDX | Feature.VERSION_1 | Feature.ACCESS_PLATFORM
    with bench() as b:
        b.driver.bring_up()
        offered = b.driver.device_features() & ~b.mirror.features
        assert offered == known | Feature.ORDER_PLATFORM | Feature.RING_RESET


def test_offloads_are_offered_with_what_they_need() -> None:
    """The device-independent rule about features that require others, where a device has such (virtio 1.4, 5.1.3.1)."""
    needs = {
        NetFeature.GUEST_TSO4: NetFeature.GUEST_CSUM,
        NetFeature.GUEST_TSO6: NetFeature.GUEST_CSUM,
        NetFeature.GUEST_ECN: NetFeature.GUEST_TSO4 | NetFeature.GUEST_TSO6,
        NetFeature.HOST_TSO4: NetFeature.CSUM,
        NetFeature.HOST_TSO6: NetFeature.CSUM,
        NetFeature.HOST_ECN: NetFeature.HOST_TSO4 | NetFeature.HOST_TSO6,
    }
    for offered in (HOST_OFFLOADS, GUEST_OFFLOADS):
        for feature, needed in needs.items():
            assert not offered & feature or offered & needed


def test_a_driver_that_cannot_go_on_says_failed_and_ceases() -> None:
    with bench() as b:
        b.driver.bring_up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Negotiation, "_acceptable", lambda _: False)
            with pytest.raises(FeaturesRefused):
                b.driver.negotiate()
        assert b.driver.status & Status.FAILED
        assert b.mirror.active is None


def test_a_driver_without_version_1_says_failed() -> None:
    with bench() as b:
        b.driver.bring_up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Negotiation, "offered", property(lambda negotiation: negotiation._device.features))
            with pytest.raises(FeatureMissing):
                b.driver.negotiate()
        assert b.driver.status & Status.FAILED


def test_a_driver_verifies_that_its_queue_was_reset() -> None:
    with bench() as b:
        b.bring_up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StateMachine, "_reset_queue", lambda machine, state: None)
            with pytest.raises(QueueNotReset):
                b.driver.reset_queue(0)
        assert 0 in b.driver.queues, "its buffers are not free"
        b.driver.reset_queue(0)
        assert 0 not in b.driver.queues


def test_a_queue_that_was_reset_starts_from_nothing() -> None:
    with bench() as b:
        b.bring_up()
        assert b.ask(b"abc") == b"cba"
        b.driver.reset_queue(0)
        handled = b.mirror.handled
        for _ in range(3):
            b.device.look()
        assert b.mirror.handled == handled
        b.driver.setup_queue(0, size=4, host_placed=False)
        ring = b.driver.queues[0]
        for number in range(10):
            request = ring.submit([bytes([number])], [1])
            assert b.driver.complete(ring, request).data == bytes([number])


@pytest.mark.parametrize("event_idx", [False, True])
def test_the_device_ignores_the_word_of_the_other_way_to_suppress(event_idx: bool) -> None:
    ring = RawRing()
    queue = ring.device(event_idx=event_idx)
    used_event = DRIVER + 4 + 2 * ring.size
    ring.descriptor(0, BUFFER, 4, WRITE)
    # Silence is asked for in the word that does not count, a notification in the one that does.
    ring.window.store16(DRIVER, 1 if event_idx else 0)
    ring.window.store16(used_event, 0 if event_idx else 77)
    ring.make_available(0)
    chain = queue.pop()
    assert chain is not None
    queue.push(chain, 0)
    assert queue.publish()


@pytest.mark.parametrize("event_idx", [False, True])
def test_the_driver_ignores_the_word_of_the_other_way_to_suppress(event_idx: bool) -> None:
    ring = RawRing()
    queue = ring.driver(event_idx=event_idx)
    avail_event = DEVICE + 4 + 8 * ring.size
    ring.window.store16(DEVICE, 1 if event_idx else 0)
    ring.window.store16(avail_event, 0 if event_idx else 77)
    queue.add([(BUFFER, 4)], [], None)
    assert queue.publish()


def test_the_drivers_flags_are_0_with_the_event_index() -> None:
    ring = RawRing()
    queue = ring.driver(event_idx=True)
    for _ in range(3):
        queue.add([(BUFFER, 4)], [], None)
        queue.publish()
        queue.disable_callbacks()
        assert ring.window.load16(DRIVER) == 0
        queue.enable_callbacks()
        assert ring.window.load16(DRIVER) == 0


def test_the_drivers_flags_are_0_or_1_without_it() -> None:
    ring = RawRing()
    queue = ring.driver()
    queue.disable_callbacks()
    assert ring.window.load16(DRIVER) == 1
    queue.enable_callbacks()
    assert ring.window.load16(DRIVER) == 0


def test_spurious_notifications_in_both_directions_change_nothing() -> None:
    with bench() as b:
        b.bring_up()
        for _ in range(20):
            for vector in range(b.pair.backend.vectors):
                os.eventfd_write(b.pair.backend_vectors[vector], 1)
                b.device._rung(vector)
            for eventfd in b.pair.frontend_vectors:
                os.eventfd_write(eventfd, 1)
            b.driver.check()
            assert b.driver.queues[0].collect() == []
        assert b.mirror.handled == 0
        assert b.ask(b"abc") == b"cba"


def test_a_readable_buffer_is_not_written() -> None:
    ring = RawRing()
    queue = ring.device()
    ring.window.write(BUFFER, b"abcd")
    ring.descriptor(0, BUFFER, 4)
    ring.make_available(0)
    chain = queue.pop()
    assert chain is not None
    assert chain.write(0, b"xxxx") == 0
    assert chain.writable_views() == []
    assert all(view.readonly for view in chain.readable_views())
    assert ring.window.read(BUFFER, 4) == b"abcd"


def test_bytes_beyond_the_used_length_are_not_data() -> None:
    with bench() as b:
        b.bring_up()
        ring = b.driver.queues[0]
        request = ring.submit([b"abc"], [8])
        assert b.driver.complete(ring, request).data == b"cba"


def test_exposed_descriptors_stay_as_they_are_until_used() -> None:
    ring = RawRing()
    queue = ring.driver(indirect=False)
    queue.add([(BUFFER, 4)], [(BUFFER + 8, 4)], "first")
    queue.publish()
    before = ring.window.read(0x1000, 32)
    for number in range(3):
        queue.add([(BUFFER + 16, 4)], [(BUFFER + 24, 4)], number)
        queue.publish()
        assert ring.window.read(0x1000, 32) == before
    index = ring.window.load16(DRIVER + 2)
    assert index == 4, "the available index only grows"
