"""Everybody's pull requests: what merging one would do, said on it."""
