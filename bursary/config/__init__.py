"""Settings, URLs, entry points and system checks. The only package that may import every other."""
