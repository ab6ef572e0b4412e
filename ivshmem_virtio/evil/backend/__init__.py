# SPDX-License-Identifier: MIT
"""A hostile back-end: does all a driver needs to get going, and then what one named scenario says."""
