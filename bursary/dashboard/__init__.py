"""For people: pages rendered on the server."""
