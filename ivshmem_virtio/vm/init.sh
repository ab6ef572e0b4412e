#!/bin/sh
# SPDX-License-Identifier: MIT
# First process of a test guest: mounts, loads modules, then serves commands on the second serial port.
#
# Kernel command line:
#   guest.load=a,b,c   modules to load instead of those in /etc/modules-load ("none": no module)
#   guest.skip=a,b     modules to leave out of that list
#   guest.shell=1      an interactive shell on the console instead of the command server
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run /tmp /root /mnt
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
ln -sf /proc/self/fd /dev/fd
ip link set lo up

# Value of kernel parameter $1, empty when it is not given.
parameter() {
	sed -n "s/^\(.* \)\{0,1\}$1=\([^ ]*\).*$/\2/p" /proc/cmdline
}

load=$(parameter guest.load)
[ -n "$load" ] || load=$(tr '\n' ',' </etc/modules-load)
skip=,$(parameter guest.skip),
for module in $(echo "$load" | tr ',' ' '); do
	case $skip in *",$module,"*) continue ;; esac
	[ "$module" = none ] || modprobe "$module" || echo "guest: modprobe $module failed" >/dev/kmsg
done

if [ -n "$(parameter guest.shell)" ]; then
	echo "Shell of the guest: 'poweroff -f' ends it."
	while :; do setsid cttyhack sh -l; done
fi

# Not by exec: whatever loses its parent becomes a child of the first process. A shell that is told of a child's end while
# it reads a line (busybox 1.35) forgets what it has read of it, so the command server must not be that process.
setsid -c /sbin/control </dev/ttyS1 >/dev/ttyS1 2>&1
