"""Budgets: customers, their accounts and budgets, and the ledger. Knows nothing of assignments."""
