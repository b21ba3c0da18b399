"""Every remote service is asked through here: in time, with a token, and not for ever."""
