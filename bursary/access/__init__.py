"""Who may: people, their roles, their keys, and which learners are linked to which customer."""
