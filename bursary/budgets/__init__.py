"""What may be spent: organisations, their accounts and budgets, and the one door to the money.

Knows nothing of assignments."""
