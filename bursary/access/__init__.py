"""Access: users, their roles and API keys, and the links between learners and customers."""
