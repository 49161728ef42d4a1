"""Policies: their files, their evaluation, guards, and their tests."""
