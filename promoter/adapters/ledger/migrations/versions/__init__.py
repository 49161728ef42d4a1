"""One file a step of the schema; the newest is named by `promoter.adapters.ledger.schema.SCHEMA`."""
