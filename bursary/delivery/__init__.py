"""What goes out: the runner that does requested work, the mails it sends, the links it makes."""
