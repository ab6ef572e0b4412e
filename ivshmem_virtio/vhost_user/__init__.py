# SPDX-License-Identifier: MIT
"""The vhost-user protocol as a front-end speaks it, so that a stock daemon serves a device inside a window of ours."""
