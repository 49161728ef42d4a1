"""Forges, each in a module of its own, and the choice between them."""

from __future__ import annotations

from promoter.adapters.forges.detect import ForgeAddress, ForgeKind, connect_forge, parse_forge_address

__all__ = ["ForgeAddress", "ForgeKind", "connect_forge", "parse_forge_address"]
