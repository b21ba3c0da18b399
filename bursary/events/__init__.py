"""What comes in: events of others, by their bus or a signed webhook, kept first and applied later."""
