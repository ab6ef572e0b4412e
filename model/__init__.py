# SPDX-License-Identifier: MIT
"""The protocol as small models, checked exhaustively by spin (docs/model.md)."""
