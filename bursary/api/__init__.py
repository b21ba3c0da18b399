"""The machines' door (DRF): parses, makes one call, answers. Shapes are those that real clients read."""
