"""Replay: what a policy would have done to the versions that there were, and what it would have said of past promotions."""
