#!/usr/bin/env python
"""Ratepayer's command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one command."""
    # A simulator stands for somebody else's machine: no settings, no database, no app of ours.
    if sys.argv[1:2] == ["simulate"]:
        from config import simulators

        sys.exit(simulators.main(sys.argv[2:]))

    from config import environment

    environment.load_demo_environment()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
