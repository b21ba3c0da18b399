"""How a log line looks."""

import logging

from bursary.access.links import masked


class Formatter(logging.Formatter):
    """Leaves out the tokens of signed links: whoever reads a log must not be able to answer for a learner."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, stack trace and all, without tokens."""
        return masked(super().format(record))
