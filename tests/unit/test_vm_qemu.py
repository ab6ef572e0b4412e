# SPDX-License-Identifier: MIT
"""QEMU's command line as it is generated."""

from pathlib import Path

from ivshmem_virtio.vm.qemu import Boot, Doorbell, qemu_arguments


def after(arguments: list[str], option: str) -> list[str]:
    return [arguments[i + 1] for i, argument in enumerate(arguments) if argument == option]


def test_each_region_is_one_device_on_its_server() -> None:
    sockets = [Doorbell(Path("/run/a.sock"), 8), Doorbell(Path("/run/b,c.sock"), 32)]
    arguments = qemu_arguments(doorbells=sockets, accelerator="tcg")
    assert after(arguments, "-chardev") == [
        "socket,id=ivshmem0,path=/run/a.sock",
        "socket,id=ivshmem1,path=/run/b,,c.sock",
    ]
    devices = [device for device in after(arguments, "-device") if device.startswith("ivshmem")]
    assert devices == ["ivshmem-doorbell,chardev=ivshmem0,vectors=8", "ivshmem-doorbell,chardev=ivshmem1,vectors=32"]


def test_the_guest_gets_nothing_by_default() -> None:
    arguments = qemu_arguments(doorbells=[], accelerator="tcg")
    assert "-nodefaults" in arguments
    assert "-no-user-config" in arguments
    assert after(arguments, "-machine") == ["q35,sata=off,smbus=off"]
    assert after(arguments, "-device") == []


def test_what_to_boot_and_what_the_caller_adds() -> None:
    boot = Boot(Path("/k"), Path("/i"), "console=ttyS0 x=1,2")
    arguments = qemu_arguments(doorbells=[], accelerator="kvm", boot=boot, memory_mib=256, cpus=2, extra=["-s"])
    assert after(arguments, "-kernel") == ["/k"]
    assert after(arguments, "-initrd") == ["/i"]
    assert after(arguments, "-append") == ["console=ttyS0 x=1,2"]
    assert after(arguments, "-accel") == ["kvm"]
    assert after(arguments, "-m") == ["256"]
    assert after(arguments, "-smp") == ["2"]
    assert arguments[-1] == "-s"


def test_translated_guests_are_kept_from_what_the_translator_gets_wrong() -> None:
    assert after(qemu_arguments(doorbells=[], accelerator="tcg"), "-accel") == ["tcg,thread=single"]
    assert after(qemu_arguments(doorbells=[], accelerator="tcg"), "-cpu") == ["max,-cx16"]
    assert after(qemu_arguments(doorbells=[], accelerator="kvm"), "-cpu") == ["max"]
