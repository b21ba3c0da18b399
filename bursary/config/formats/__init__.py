"""How Django writes dates without a format, by language."""
