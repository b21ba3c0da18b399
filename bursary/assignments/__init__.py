"""Record 0013: assignments and their actions."""
