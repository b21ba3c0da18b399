"""The `bursary` command: Django's management commands under the product's own name."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    """Run `bursary COMMAND …`; without a command, list what there is."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bursary.config.settings")
    execute_from_command_line(["bursary", *sys.argv[1:]])


if __name__ == "__main__":
    main()
