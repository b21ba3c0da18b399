"""What knows nothing of Bursary: one subject a module."""
