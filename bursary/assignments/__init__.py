"""Assignments and their actions (decision 0002)."""
