"""Notices: what is told of an entry, and what became of telling it."""
