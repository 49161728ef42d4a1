"""The ledger as a proof: its chain, its lines, who vouches for it, and what can be wrong with it."""
