"""YAML files: parsed strictly, with the place of every fault, and edited byte by byte."""

from __future__ import annotations

from promoter.adapters.yaml.documents import YamlDocuments
from promoter.adapters.yaml.starter import render_starter_policies, render_starter_registry

__all__ = ["YamlDocuments", "render_starter_policies", "render_starter_registry"]
