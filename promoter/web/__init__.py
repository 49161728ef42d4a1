"""The web: webhooks in, page and API out. Reads the same queries as the command line."""
