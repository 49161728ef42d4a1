"""What implements a port: one room for each outside system."""
