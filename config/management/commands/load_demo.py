"""``manage.py load_demo``: makes the demonstration's billers and their past, once; says who can sign in."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.demo import data
from config.demo.doors import SimulatorError, Simulators
from config.demo.introductions import introduction
from config.settings import VAR

KEY_FILE = VAR / "demo" / "api-key"


class Command(BaseCommand):
    """Make the demonstration."""

    help = "Makes the demonstration's billers, people and last month. Does nothing where they are there."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the options."""
        parser.add_argument("--quiet", action="store_true", help="Do not say at the end who can sign in.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        if not settings.DEMO:
            raise CommandError("The demonstration is loaded only where DEMO=1 is set.")
        began = time.monotonic()
        try:
            key = data.load(simulators=Simulators.of_settings(), say=self.stdout.write)
        except SimulatorError as error:
            raise CommandError(f"{error} The simulators must run.") from error
        if key:
            KEY_FILE.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            KEY_FILE.touch(mode=0o600)
            KEY_FILE.write_text(f"{key}\n")
            self.stdout.write(f"the API's key is {key} (kept in {KEY_FILE})")
            self.stdout.write(f"the demonstration was made in {time.monotonic() - began:.0f} s")
        else:
            self.stdout.write("the demonstration is there already")
        if not options["quiet"]:
            self.stdout.write(f"\n{introduction()}")
