"""Forges, each in a module of its own, and the choice between them."""

from __future__ import annotations

from promoter.adapters.forges.choice import Address, Kind, address, connect

__all__ = ["Address", "Kind", "address", "connect"]
