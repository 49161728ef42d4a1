"""The ledger as a proof: the chain of its entries, checkpoints, exports, witnesses, verification, and reruns."""
