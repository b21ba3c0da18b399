"""The names of the remedies that the page of an assignment offers."""

REMEDIES = ("remind-learner", "extend-deadline", "cancel-assignment", "correct-address", "revoke-links")
OF_ACTIONS = ("retry-action", "skip-action")
