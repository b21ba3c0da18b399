"""For operators: commands, scheduled tasks, and the health of the service."""
