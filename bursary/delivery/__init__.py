"""What goes out: the runner, a handler for each kind of work, mails and their backends."""
