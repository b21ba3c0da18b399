"""HTTP requests to remote services: within a deadline, with a token, behind a circuit breaker."""
