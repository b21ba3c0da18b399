"""Events of other services, by their bus or a signed webhook: stored first, applied later."""
