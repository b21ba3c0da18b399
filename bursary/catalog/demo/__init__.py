"""A sample catalog of 200 invented courses, as upstream serves them, kept alive by moving its dates."""
