# SPDX-License-Identifier: MIT
"""What can go wrong around a virtual machine: one class for each kind, one line of message with the remedy."""

from ivshmem_virtio.errors import IvshmemVirtioError

LONGEST_SHOWN = 200


def shown(command: str) -> str:
    """A command as an error shows it: of a long script only the beginning, so that it does not hide the rest."""
    return repr(command if len(command) <= LONGEST_SHOWN else f"{command[:LONGEST_SHOWN]} ...")


class VmError(IvshmemVirtioError):
    """Root of everything the VM tooling raises on purpose."""


class ToolMissing(VmError):
    """A program this step runs is not installed."""


class PackageMissing(VmError):
    """No configured apt source has a package that is needed."""


class DownloadFailed(VmError):
    """apt could not fetch a package."""


class UnpackFailed(VmError):
    """A downloaded package could not be unpacked."""


class UnknownKernel(VmError):
    """The kernel series asked for is not one this tooling knows."""


class ModuleSourceMissing(VmError):
    """The guest module's source is not where it was looked for."""


class ModuleBuildFailed(VmError):
    """The guest module did not compile, or compiled with warnings."""


class MalformedModule(VmError):
    """A kernel module file is not the ELF object it should be."""


class InitrdIncomplete(VmError):
    """A module, program or library that the initramfs must hold was not found."""


class AcceleratorUnavailable(VmError):
    """The accelerator asked for does not run a guest on this machine."""


class ProbeBroken(VmError):
    """The accelerator probe failed even under TCG, so its answer means nothing."""


class QemuFailed(VmError):
    """QEMU did not start, or ended by itself."""


class GuestTimeout(VmError):
    """The guest did not answer in time."""


class GuestRebooted(VmError):
    """The guest started anew while a command was running in it."""


class CommandFailed(VmError):
    """A command run in the guest ended with a non-zero status.

    ``status`` is the exit status, ``output`` all that the command printed (standard output and error).
    """

    def __init__(self, command: str, status: int, output: str) -> None:
        self.command = command
        self.status = status
        self.output = output
        last = output.strip().rsplit("\n", 1)[-1]
        super().__init__(f"in the guest, {shown(command)} ended with status {status}: {last or 'no output'}")


class ServiceFailed(VmError):
    """The service that should serve the guests did not get ready."""
