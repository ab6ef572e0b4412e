# SPDX-License-Identifier: MIT
"""Coverage-guided fuzzing of everything that reads what another party has written (docs/fuzzing.md)."""
