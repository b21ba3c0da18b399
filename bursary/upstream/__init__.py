"""Asking remote services over HTTP: within a deadline, with a token, behind a circuit breaker."""
