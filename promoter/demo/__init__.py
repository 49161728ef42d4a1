"""A whole system on one machine, to look at and to test against."""
