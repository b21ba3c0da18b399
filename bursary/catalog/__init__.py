"""Upstream's content: where its records come from, and the one parser that turns them into frozen values."""
