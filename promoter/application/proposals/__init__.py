"""Proposals as pull requests: what is open, what should be open, and how the two are made to agree."""
