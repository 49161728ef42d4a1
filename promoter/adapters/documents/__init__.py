"""The documents room: YAML files, parsed strictly with the place of every fault, and edited byte by byte."""

from __future__ import annotations

from promoter.adapters.documents.documents import YamlDocuments
from promoter.adapters.documents.starter import render_starter_registry, render_starter_policies

__all__ = ["YamlDocuments", "render_starter_registry", "render_starter_policies"]
