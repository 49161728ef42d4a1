"""Promoter: git states which version each MLflow alias points at, and the registry is made to match."""

__version__ = "0.1.0"
