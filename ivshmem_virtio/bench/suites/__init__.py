# SPDX-License-Identifier: MIT
"""The suites: each compares one thing, case by case."""
