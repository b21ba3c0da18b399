"""For the clock and the operator: commands, and whether all is well."""
