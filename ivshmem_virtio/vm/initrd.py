# SPDX-License-Identifier: MIT
"""Initramfs of a test guest: static busybox, the kernel's modules for virtio, a few programs, and a command server.

Deterministic: the same inputs give the same bytes, and the file's name is their digest.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ivshmem_virtio.vm import modinfo
from ivshmem_virtio.vm.cache import cache_folder
from ivshmem_virtio.vm.cpio import Archive
from ivshmem_virtio.vm.errors import InitrdIncomplete
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.packages import closure, resolve, unpack_together, unpacked
from ivshmem_virtio.vm.progress import step

# Loaded by /init in this order; what one depends on comes along.
LOADED = (
    "virtio_ring",
    "virtio",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "virtio_rng",
    "crc32c_generic",
    "ext4",
    "af_packet",
)
# In the image for tests to load: the PCI transport to compare with, and what a user-space front-end attaches by.
AVAILABLE = ("virtio_pci", "uio", "uio_pci_generic")
# Program in the guest -> the Debian package it comes from.
PROGRAMS = {"usr/bin/lspci": "pciutils", "usr/bin/rngtest": "rng-tools5"}
_DATA = ("usr/share/misc/pci.ids",)
_KEPT = 24
_HERE = Path(__file__).resolve().parent


def build_initrd(
    kernel: Kernel,
    module: Path | None = None,
    files: Mapping[str, Path] | None = None,
    packages: Sequence[str] = (),
    programs: Mapping[str, str] | None = None,
) -> Path:
    """The compressed initramfs for ``kernel``; built when no earlier run made the same.

    ``module`` is the guest module to load last; ``files`` maps paths in the guest to files here; ``packages`` are
    Debian packages whose whole trees (with all they depend on) are added, for tests that want more than busybox;
    ``programs`` maps single programs to the package each is in, and only the libraries they need come along.
    Raises InitrdIncomplete and what fetching packages raises.
    """
    folder = _folder()
    with step(f"building the initramfs for {kernel.release}"):
        data = _archive(kernel, module, files or {}, packages, programs or {}).compressed()
    target = folder / f"{kernel.release}-{hashlib.sha256(data).hexdigest()[:16]}.cpio.gz"
    if not target.is_file():
        temporary = folder / f".{target.name}.{os.getpid()}"
        temporary.write_bytes(data)
        temporary.rename(target)
        _forget_oldest(folder)
    return target


def _forget_oldest(folder: Path) -> None:
    """Every change of the module makes another image: only the newest are kept."""
    images = sorted(folder.glob("*.cpio.gz"), key=lambda image: image.stat().st_mtime)
    for image in images[:-_KEPT]:
        image.unlink(missing_ok=True)


def _folder() -> Path:
    checkout = _HERE.parents[1]
    base = checkout / "build" if (checkout / "guest_driver").is_dir() else cache_folder()
    folder = base / "initrd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _archive(
    kernel: Kernel,
    module: Path | None,
    files: Mapping[str, Path],
    packages: Sequence[str],
    programs: Mapping[str, str],
) -> Archive:
    archive = Archive()
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "etc"):
        archive.folder(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("init", (_HERE / "init.sh").read_bytes(), 0o755)
    archive.file("sbin/control", (_HERE / "control.sh").read_bytes(), 0o755)
    for name, source in sorted(files.items()):
        if not source.is_file():
            raise InitrdIncomplete(f"{source}, wanted as {name} in the guest, is not a file")
        archive.copy(name, source.resolve())
    if packages:
        _add_trees(archive, packages)
    _add_busybox(archive)
    _add_programs(archive, PROGRAMS, _DATA)
    if programs:
        _add_programs(archive, programs)
    _add_modules(archive, kernel, module)
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    return archive


def _add_busybox(archive: Archive) -> None:
    busybox = unpacked(resolve("busybox-static")) / "bin" / "busybox"
    if "bin/busybox" not in archive:
        archive.copy("bin/busybox", busybox)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in [*(f"bin/{name}" for name in applets), "sbin/modprobe"]:
        if applet not in archive:
            archive.link(applet, "/bin/busybox")


def programs_root(programs: Mapping[str, str]) -> Path:
    """The tree that ``programs`` (as for build_initrd) come from, with all they need; fetched on first use."""
    wanted = closure(sorted(set(programs.values())))
    key = hashlib.sha256("\n".join(package.key for package in wanted).encode()).hexdigest()[:16]
    return unpack_together(f"programs-{key}", wanted)


def _add_programs(archive: Archive, programs: Mapping[str, str], data: Sequence[str] = ()) -> None:
    root = programs_root(programs)
    for name in (*programs, *data):
        if not (root / name).is_file():
            raise InitrdIncomplete(f"/{name} is not in the packages it is expected in")
        if name not in archive:
            archive.copy(name, (root / name).resolve())
    for program in programs:
        for name, library in _libraries(root, root / program):
            if name not in archive:
                archive.file(name, library.read_bytes(), 0o755)


def _libraries(root: Path, program: Path) -> list[tuple[str, Path]]:
    """Shared libraries (and the loader) of ``program`` as (path in the guest, file), found by the tree's own loader."""
    loader = root / "lib64" / "ld-linux-x86-64.so.2"
    loader = root / "lib" / "x86_64-linux-gnu" / loader.name if not loader.exists() else loader
    places = [root / "lib/x86_64-linux-gnu", root / "usr/lib/x86_64-linux-gnu"]
    # Some libraries lie in a folder of their package, which those who need them name in full.
    places += sorted(path for path in places[1].iterdir() if path.is_dir())
    command = [str(loader), "--inhibit-cache", "--library-path", ":".join(map(str, places)), "--list", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [(f"lib64/{loader.name}", loader.resolve())]
    for line in done.stdout.splitlines():
        _, arrow, resolved = line.partition(" => ")
        if not arrow:
            continue
        path = Path(resolved.rsplit(" (", 1)[0])
        if not path.is_relative_to(root):
            raise InitrdIncomplete(f"library {line.split()[0]} of {program.name} is not in the packages it depends on")
        found.append((str(path.relative_to(root)), path.resolve()))
    if done.returncode != 0 or len(found) < 2:
        raise InitrdIncomplete(
            f"the libraries of {program.name} cannot be listed: {done.stderr.strip() or 'no answer'}"
        )
    return found


def _add_trees(archive: Archive, packages: Sequence[str]) -> None:
    wanted = closure(packages)
    key = hashlib.sha256("\n".join(package.key for package in wanted).encode()).hexdigest()[:16]
    root = unpack_together(f"tree-{key}", wanted)
    skipped = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian")
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(skipped) or name in archive:
            continue
        if path.is_symlink() or path.is_file():
            archive.copy(name, path)
        elif path.is_dir():
            archive.folder(name)


def _add_modules(archive: Archive, kernel: Kernel, module: Path | None) -> None:
    builtin = modinfo.builtin_modules(kernel.modules)
    ordered = modinfo.load_order(kernel.modules, (*LOADED, *AVAILABLE), builtin)
    objects = {modinfo.module_name(path): modinfo.module_bytes(path) for path in ordered}
    loaded = [name for name in LOADED if name in objects]
    if module is not None:
        objects[modinfo.module_name(module)] = module.read_bytes()
        loaded.append(modinfo.module_name(module))
    folder = f"lib/modules/{kernel.release}"
    for name, data in objects.items():
        archive.file(f"{folder}/{name}.ko", data)
    archive.file(f"{folder}/modules.dep", _dependency_table(objects).encode())
    archive.file(f"{folder}/modules.alias", _alias_table(objects).encode())
    archive.file("etc/modules-load", "".join(f"{name}\n" for name in loaded).encode())


def _dependency_table(objects: Mapping[str, bytes]) -> str:
    """``modules.dep``: each module with all it needs, the first to load last (as depmod writes it)."""

    def needs(name: str) -> list[str]:
        found: list[str] = []
        for dependency in modinfo.depends(objects[name]):
            if dependency in objects:
                found.extend([dependency, *needs(dependency)])
        # Of a module needed twice the last mention counts: it is loaded before all that need it.
        return list(reversed(dict.fromkeys(reversed(found))))

    return "".join(f"{name}.ko:{''.join(f' {need}.ko' for need in needs(name))}\n" for name in objects)


def _alias_table(objects: Mapping[str, bytes]) -> str:
    return "".join(
        f"alias {alias} {name}\n" for name, data in objects.items() for alias in modinfo.fields(data).get("alias", [])
    )
