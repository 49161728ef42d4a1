"""What users touch: the command line, the web, the daemon."""
