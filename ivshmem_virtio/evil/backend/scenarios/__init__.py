# SPDX-License-Identifier: MIT
"""The scenarios, one file for each part of the protocol that is lied about."""
