"""The roof: settings, addresses, entry points and system checks. The only package that knows every other."""
