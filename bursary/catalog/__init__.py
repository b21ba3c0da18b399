"""Upstream's content: the sources of its records, and the parser that turns them into frozen values."""
