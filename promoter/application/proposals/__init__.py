"""Proposals through pull requests: where they stand, what is wanted, and branch and pull request made so."""
