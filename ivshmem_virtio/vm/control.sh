#!/bin/sh
# SPDX-License-Identifier: MIT
# Command server of a test guest, on its standard input and output (a serial port). A request is one line
# "token base64-of-a-shell-command"; the answer is "<token" on a line, the output as it is, and "token>status" on a line.
# The token is the host's random number, so no output can be mistaken for a frame.
stty raw -echo isig intr ^C
# Interrupting a command from the host must not end this loop; the command itself gets the default action.
trap : INT

printf '\n=ready %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
while :; do
	read -r token command || continue
	[ -n "$command" ] || continue
	printf '\n<%s\n' "$token"
	(echo "$command" | base64 -d >/run/command && exec sh /run/command </dev/null) 2>&1
	printf '\n%s>%s\n' "$token" "$?"
done
