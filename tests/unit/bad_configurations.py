# SPDX-License-Identifier: MIT
"""Configurations with one thing wrong: what is changed, and the words that have to stand in the one line."""

from __future__ import annotations

from tests.unit.bad_world import BadWorld, Spoil

LONG = "x" * 120
SECOND_GUEST = '\n[[guest]]\nname = "{}"\n{}\n[[guest.device]]\ntype = "rng"\n'
SAME_MAC = "".join(
    f'\n[[guest.device]]\ntype = "net"\nname = "{name}"\nvia = {{ tap = "{name}" }}\nmac = "02:00:00:00:00:01"\n'
    for name in ("one", "two")
)
SAME_TAP = "".join(
    f'\n[[guest.device]]\ntype = "net"\nname = "{name}"\nvia = {{ tap = "t" }}\nqueues = 2\n' for name in ("one", "two")
)
NET = 'type = "net"\n  via = {}\n  {}'


def change(old: str, new: str) -> Spoil:
    return lambda world: world.change(old, new)


def device(text: str) -> Spoil:
    return lambda world: world.add_device(text)


def add(text: str) -> Spoil:
    return lambda world: world.add(text)


def net(via: str, keys: str = "") -> Spoil:
    return device(NET.format(via, keys))


def console(keys: str) -> Spoil:
    return device(f'type = "console"\n  {keys}')


def content(data: bytes) -> Spoil:
    return lambda world: world.file.path.write_bytes(data)


def image_size(size: int) -> Spoil:
    return lambda world: world.file.image.write_bytes(bytes(size))


def folder_as_file(world: BadWorld) -> None:
    world.file.path.unlink()
    world.file.path.mkdir()


def no_image(world: BadWorld) -> None:
    world.file.image.unlink()


def folder_as_image(world: BadWorld) -> None:
    world.file.image.unlink()
    world.file.image.mkdir()


def link_to_image(world: BadWorld) -> None:
    """Another name for one file is still one file."""
    (world.folder / "alias.img").symlink_to(world.file.image)
    world.add_device('type = "blk"\n  name = "two"\n  path = "alias.img"')


CASES: dict[str, tuple[Spoil, str]] = {
    # the file
    "no file": (lambda world: world.file.path.unlink(), "No such file"),
    "a folder": (folder_as_file, "Is a directory"),
    "not TOML": (content(b"[service\n"), "not valid TOML"),
    "not text": (content(b"\xff\xfe\x00"), "not UTF-8"),
    "empty": (content(b""), "[service] is missing"),
    "no guest": (content(b'[service]\nname = "x"\nruntime_dir = "r"\n'), "guest is missing"),
    # keys
    "unknown key": (change("vectors = 32", "vector = 32"), 'guest "web": unknown key vector; did you mean vectors?'),
    "unknown table": (add("\n[services]\n"), "unknown key services"),
    "unknown device key": (change("queues = 2", "quues = 2"), 'device "root": unknown key quues; did you mean queues?'),
    "missing path": (change('path = "root.img"', ""), 'device "root": must have path, or backend = "null"'),
    "missing type": (device('name = "x"'), 'device "x": type is missing'),
    "missing guest name": (change('name = "web"', ""), "guest #1: name is missing"),
    "guest is no list": (change("[[guest]]", "[guest]"), "guest = a table must be a list"),
    # values
    "type": (device('type = "blkk"'), '"blkk" must be one of blk, console, net, rng'),
    "text for a number": (change("vectors = 32", 'vectors = "32"'), 'vectors = "32" must be a whole number'),
    "text for a truth": (change("queues = 2", 'read_only = "no"'), "must be true or false"),
    "bad name": (change('name = "web"', 'name = "../web"'), 'name = "../web" must be 1 to 64 letters'),
    "device name of two lines": (
        device('type = "rng"\n  name = "a\\nb"'),
        'device "a\\nb": name = "a\\nb" must be 1 to',
    ),
    "image name of two lines": (change('path = "root.img"', 'path = "a\\nb"'), "a\\nb: No such file"),
    "long device name": (device('type = "rng"\n  name = "a-name-of-17-char"'), "must be 1 to 16 letters"),
    "region not a power of two": (change('"64M"', '"63M"'), 'region = "63M" must be a power of two'),
    "region is no size": (change('"64M"', '"big"'), 'region = "big" is no size'),
    "region enormous": (change('"64M"', '"2T"'), 'must lie between "4K" and "1T"'),
    "no vectors": (change("vectors = 32", "vectors = 0"), "vectors = 0 must be at least 1"),
    "too many vectors": (change("vectors = 32", "vectors = 65"), "vectors = 65 must be at most 64"),
    "queue size": (change("queues = 2", "queue_size = 100"), "queue_size = 100 must be a power of two"),
    "queue size beyond the ring": (change("queues = 2", "queue_size = 65536"), "from 2 to 32768"),
    "net queue too short": (net('{ tap = "t" }', "queue_size = 16"), "queue_size = 16 must be at least 32"),
    "too many pairs": (net('{ tap = "t" }', "queues = 9"), "queues = 9 must be at most 8"),
    "no pair": (net('{ tap = "t" }', "queues = 0"), "queues = 0 must be at least 1"),
    "many pairs on a switch": (net('{ switch = "s" }', "queues = 2"), "unless via is a tap"),
    "more net workers than pairs": (
        net('{ tap = "t" }', "queues = 2\n  workers = 3"),
        "must not have more workers (3) than queues (2)",
    ),
    "window too small for all pairs": (
        net('{ tap = "t" }', 'queues = 4\n  window = "8M"'),
        'window = "8M" is too small: 9 queues of 256 descriptors need',
    ),
    "one tap for two": (add(SAME_TAP), 'tap "t" is given twice'),
    "serial": (change("queues = 2", f'serial = "{LONG}"'), "must be at most 20 printable"),
    "time-out without a unit we know": (
        change("queues = 2", 'timeout = "90d"'),
        'timeout = "90d" is no length of time',
    ),
    "negative time-out": (change("queues = 2", "timeout = -1"), "timeout = -1 must be from 0 to 7 days"),
    "endless time-out": (change("queues = 2", "timeout = inf"), "must be from 0 to 7 days"),
    "mac": (net('{ tap = "t" }', 'mac = "52:54:00:12:34"'), 'mac = "52:54:00:12:34" must be six pairs'),
    "group mac": (net('{ tap = "t" }', 'mac = "01:00:5e:00:00:01"'), "the first pair even"),
    "mtu": (net('{ tap = "t" }', "mtu = 60"), "mtu = 60 must be at least 68"),
    "via is text": (net('"tap0"'), 'must be { stream = "PATH" }'),
    "two vias": (net('{ tap = "t", switch = "s" }'), "must have exactly one of stream, tap, switch"),
    "listen on a tap": (net('{ tap = "t", listen = true }'), "must not have listen without stream"),
    "tap name": (net('{ tap = "a/b" }'), 'tap = "a/b" must be a network interface name'),
    "console via": (change('via = "pty"', 'via = "tty"'), 'must be "pty", "stdio", "null"'),
    "port name": (console('name = "p"\n  ports = [{ name = "a/b", via = "pty" }]'), 'name = "a/b" must be 1 to 64'),
    "rows": (change('via = "pty"', "rows = 0"), "rows = 0 must be at least 1"),
    "mode": (change('runtime_dir = "run"', 'runtime_dir = "run"\nmode = 0o777'), "must be an octal mode"),
    "owner": (change('runtime_dir = "run"', 'runtime_dir = "run"\nowner = "nobody-here"'), "nobody-here"),
    "owner with a zero byte": (
        change('runtime_dir = "run"', 'runtime_dir = "run"\nowner = "a\\u0000"'),
        "there is no user",
    ),
    "owner beyond 32 bits": (
        change('runtime_dir = "run"', 'runtime_dir = "run"\nowner = ":4294967295"'),
        "0 to 4294967294",
    ),
    "vm memory": (add('\n[guest.vm]\nmemory = "1M"\n'), 'memory = "1M" must be at least "64M"'),
    # sums
    "region too small": (change('"64M"', '"16M"'), "directory 8K + root 16388K + serial 1028K + rng 260K = 17684K"),
    "window too small": (change('"16M"', '"1M"'), 'device "root": window = "1M" is too small'),
    "too many devices": (lambda world: [world.add_device(f'type = "rng"\n  name = "r{i}"') for i in range(130)], "127"),
    # names twice
    "two guests": (add(SECOND_GUEST.format("web", "")), 'guest "web" is given twice'),
    "two devices": (device('type = "rng"'), 'device "rng" is given twice'),
    "two ports": (
        console('name = "p"\n  ports = [{ name = "a", via = "pty" }, { name = "a", via = "null" }]'),
        'port "a" is given twice',
    ),
    "one socket for two": (add(SECOND_GUEST.format("db", 'socket = "run/web.sock"')), "web.sock"),
    "one address for two": (add(SAME_MAC), 'mac "02:00:00:00:00:01" is given twice'),
    "stdio twice": (
        console('name = "a"\n  via = "stdio"\n  [[guest.device]]\n  type = "console"\n  name = "b"\n  via = "stdio"'),
        "one terminal cannot serve both",
    ),
    "socket path too long": (change("vectors = 32", f'socket = "{LONG}.sock"'), "Linux allows 107"),
    # images
    "image missing": (no_image, "root.img: No such file"),
    "image is a folder": (folder_as_image, "neither a file nor a block device"),
    "image empty": (image_size(0), "root.img has 0 bytes"),
    "image of half a sector": (image_size(1000), "root.img has 1000 bytes; it must be a multiple of 512"),
    "image twice": (device('type = "blk"\n  name = "two"\n  path = "root.img"'), "is also that of"),
    "image twice by another name": (link_to_image, "alias.img is also that of"),
    # devices of somebody else
    "foreign syntax": (device('type = "a b:C"'), 'must be "module:Class"'),
    "foreign module": (device('type = "no_such_module:Class"'), "no_such_module"),
    "foreign class": (device('type = "tests.unit.foreign_device:Missing"'), "Missing"),
    "foreign no device": (device('type = "tests.unit.foreign_device:NoDevice"'), "NoDevice"),
    "foreign class that fails": (
        device('type = "tests.unit.foreign_device:Broken"'),
        'guest "web", device "broken": type = "tests.unit.foreign_device:Broken": RuntimeError: cannot make broken',
    ),
    "foreign queue": (device('type = "tests.unit.foreign_device:Echo"\n  depth = 10'), "queue sizes (10,)"),
    "foreign key": (device('type = "tests.unit.foreign_device:Echo"\n  deepness = 3'), "deepness"),
}
