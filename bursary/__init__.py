"""Bursary assigns learning content to learners, within a budget, and can always say what happened."""
