"""The web interface: webhooks come in, the dashboard, the API and health go out. It asks the same use cases as the commands."""
