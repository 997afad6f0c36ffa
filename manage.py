#!/usr/bin/env python
"""Django's command line. It starts the embedded services if no others are configured."""

import contextlib
import os
import sys

#: Commands that need neither database nor queue, so that no service is started.
WITHOUT_SERVICES = {"help", "version", "collectstatic", "spectacular", "diffsettings", "findstatic"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from config import embedded, servers

    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "help")
    alone = command in WITHOUT_SERVICES or {"--help", "-h", "--version"} & set(sys.argv[1:])
    try:
        with contextlib.nullcontext() if alone else embedded.services():
            from django.core.management import execute_from_command_line

            execute_from_command_line(sys.argv)
    except servers.StartFailed as error:
        sys.exit(f"The embedded services cannot start: {error}")


if __name__ == "__main__":
    main()
