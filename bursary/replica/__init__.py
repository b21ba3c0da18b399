"""Bursary's own copy of the content metadata that assignments depend on (decision 0003)."""
