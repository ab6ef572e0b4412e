# SPDX-License-Identifier: MIT
"""The hostile sides of a link, on purpose: a driver and a back-end that break every rule, for who tests the other."""
