# SPDX-License-Identifier: MIT
"""Byte streams of a guest, through consoles and through TCP, while the back-end is killed: not a byte is lost."""

from __future__ import annotations

import random
import secrets
import shutil
from pathlib import Path

import pytest

from ivshmem_virtio.vm.demo_guest import port_device
from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.passt import Passt
from ivshmem_virtio.vm.qemu import Doorbell
from ivshmem_virtio.vm.service import ServiceProcess
from tests.figures import Figures
from tests.number_stream import Found, check_numbers
from tests.vm.conftest import BootGuest
from tests.vm.killer import kill_again_and_again
from tests.vm.served_guest import link_states, wait_in_guest
from tests.vm.tcp_streams import Download, Upload
from tests.vm.user_network import UserNetwork

CONFIG = """[service]
name = "{name}"
runtime_dir = "run"
[[guest]]
name = "web"
region = "32M"
vectors = 16
  [[guest.device]]
  type = "console"
  name = "serial"
  via = {{ file = "console.log" }}
  ports = [{{ name = "stream", via = {{ file = "port.log" }} }}]
  [[guest.device]]
  type = "net"
  name = "uplink"
  window = "8M"
  mac = "{down_mac}"
  via = {{ stream = "passt.sock" }}
  [[guest.device]]
  type = "net"
  name = "upload"
  window = "8M"
  mac = "{up_mac}"
  via = {{ stream = "user.sock" }}
"""
UPLOADED = 256 << 10
DOWN_MAC, UP_MAC = "52:54:00:00:00:0d", "52:54:00:00:00:0e"
# Lines are numbered without a gap; the device file stays open, so that a port that was closed would be noticed.
WRITE_LINES = """
cat > /run/lines <<'END'
exec > $1
[ ! -t 1 ] || stty -F $1 raw -echo
n=0
while [ ! -e /run/stop ]; do
    awk -v n=$n 'BEGIN { for (i = n; i < n + 100; i++) printf "%08d\\n", i }' || echo $1 >> /run/bad
    n=$((n + 100))
    sleep 0.1
done
echo $n > /run/$2.sent
END
"""
# What goes up is one random file, again and again, and its number of times.
TRANSFER = """
dd if=/dev/urandom of=/run/up bs=64k count=4 2> /dev/null
cat > /run/upload <<'END'
times=0
while [ ! -e /run/stop ]; do
    cat /run/up
    times=$((times + 1))
    echo $times > /run/times
    sleep 0.2
done | nc {upper} {up}
END
cat > /run/download <<'END'
wget -q -O - http://{lower}:{down}/ | sha256sum > /run/down
echo done > /run/downloaded
END
sh /run/upload > /dev/null 2>&1 &
sh /run/download > /dev/null 2>&1 &
"""


def set_up_interface(guest: Guest, mac: str, address: str) -> None:
    guest.run(
        f"i=$(grep -l {mac} /sys/class/net/*/address | cut -d / -f 5); ip link set $i up; ip addr add {address} dev $i"
    )


@pytest.mark.skipif(shutil.which("passt") is None, reason="needs passt: apt-get install passt")
@pytest.mark.newest_kernel
@pytest.mark.parametrize(
    "kills", [4, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1500)])], ids="{} kills".format
)
def test_not_a_byte_of_any_stream_is_lost(
    kills: int, tmp_path: Path, boot: BootGuest, kernel: Kernel, figures: Figures
) -> None:
    config = tmp_path / "service.toml"
    config.write_text(CONFIG.format(name=f"vm-{secrets.token_hex(4)}", down_mac=DOWN_MAC, up_mac=UP_MAC))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with (
        Passt() as passt,
        UserNetwork(tmp_path / "user.sock") as user,
        Download(seed) as download,
        Upload() as upload,
        ServiceProcess(["serve", str(config)], tmp_path),
    ):
        passt.start(tmp_path / "passt.sock")
        guest = boot(doorbells=[Doorbell(tmp_path / "run" / "web.sock", 16)], cpus=2)
        wait_in_guest(guest, "[ -c /dev/hvc0 ] && [ -d /sys/class/net/eth1 ] && [ -c /dev/vport*p1 ]", 30)
        set_up_interface(guest, DOWN_MAC, f"{passt.address}/{passt.prefix}")
        set_up_interface(guest, UP_MAC, user.address)
        guest.run(WRITE_LINES)
        guest.run("sh /run/lines /dev/hvc0 console > /dev/null 2>&1 &")
        guest.run(f"sh /run/lines {port_device(guest, 'stream')} port > /dev/null 2>&1 &")
        guest.run(TRANSFER.format(upper=user.gateway, lower=passt.gateway, up=upload.port, down=download.port))
        wait_in_guest(guest, "[ -s /run/times ]", 30)
        kill_again_and_again(config, kills, random.Random(seed))
        guest.run("touch /run/stop")
        upload.wait_for_end()
        download.finish()
        for done in ("console.sent", "port.sent", "downloaded"):
            wait_in_guest(guest, f"[ -e /run/{done} ]", 60)
        assert guest.run("cat /run/bad 2>/dev/null || true") == ""
        assert guest.run("cat /run/down").split()[0] == download.digest
        times = int(guest.run("cat /run/times"))
        assert upload.length == times * UPLOADED
        assert guest.run(f"for n in $(seq {times}); do cat /run/up; done | sha256sum").split()[0] == upload.digest
        sent = {name: int(guest.run(f"cat /run/{name}.sent")) for name in ("console", "port")}
        states = link_states(guest)
        renewed = {name: link["registrations"] for name, link in states.items() if link["registrations"] != "1"}
        assert not renewed, f"registered so often: {renewed}\n{guest.last_kernel_lines()}"
    found = {name: check_numbers((tmp_path / f"{name}.log").read_bytes()) for name in sent}
    where = f"on Linux {kernel.release}"
    for name in sent:
        lost = sent[name] - found[name].lines + found[name].repeated
        twice = found[name].repeated
        figures(f"{name}, {where}", kills=kills, lines=sent[name], lost=lost, twice=twice, errors=0)
    figures(f"TCP, {where}", kills=kills, KiB=(download.length + upload.length) >> 10, errors=0)
    for name in sent:
        said = f"{name}: {found[name]} of {sent[name]} lines; the guest dropped {states['serial']['dropped']} outputs"
        assert found[name] == Found(sent[name], 0, 0), said
