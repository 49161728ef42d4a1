"""The use cases of auditors: verify, export, list, decide again, vouch."""
