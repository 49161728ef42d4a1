"""Forges, each in a module of its own, and the choice between them."""

from __future__ import annotations

from promoter.adapters.forges.choice import ForgeAddress, ForgeKind, parse_forge_address, connect_forge

__all__ = ["ForgeAddress", "ForgeKind", "parse_forge_address", "connect_forge"]
