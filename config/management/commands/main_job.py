"""``manage.py main_job``: bills come in, are collected, the biller's system hears of it; books are compared."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.models import Biller
from config.demo import job, towns
from config.demo.doors import SimulatorError, Simulators


class Command(BaseCommand):
    """Run the main job once."""

    help = "Runs the main job on the demonstration's invoice file; fails unless the books agree."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the options."""
        parser.add_argument("--again", action="store_true", help="Let one more file of bills come in.")
        parser.add_argument(
            "--faults", action="store_true", help="Let the processor and the CIS lose answers meanwhile."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it."""
        if not settings.DEMO:
            raise CommandError("The main job runs on the demonstration, where DEMO=1 is set.")
        began = time.monotonic()
        slugs = [town.slug for town in towns.TOWNS]
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            billers = sorted(Biller.objects.filter(slug__in=slugs), key=lambda one: slugs.index(one.slug))
        if len(billers) < len(slugs):
            raise CommandError("The demonstration is not there; manage.py load_demo makes it.")
        try:
            ended = job.run(
                biller=billers[0],
                billers=billers,
                simulators=Simulators.of_settings(),
                count=towns.MAPLE_FALLS.billed,
                say=self.stdout.write,
                again=options["again"],
                faults=job.Faults() if options["faults"] else None,
            )
        except SimulatorError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"All of it took {time.monotonic() - began:.1f} s.")
        self.stdout.write(str(ended.comparison))
        if not ended.sound:
            raise CommandError("Our books do not hold by themselves.")
        if not ended.comparison.agree:
            raise CommandError("The books do not agree.")
