"""Django's default formats of dates, by language."""
