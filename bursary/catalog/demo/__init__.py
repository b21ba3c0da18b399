"""A sample catalog of 200 invented courses, as upstream serves them, with dates that move with today's."""
