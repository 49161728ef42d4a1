"""Markdown for forges and for `--format markdown`: pure functions from values to text."""
