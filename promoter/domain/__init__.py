"""What Promoter knows and decides. Pure: no I/O, no clock, no third-party client."""
