"""``manage.py deliver``: tell billers' systems what is due."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.actors import Actor
from datapump.operations import deliveries, resends
from datapump.operations.deliveries import rows


class Command(BaseCommand):
    """Runs the delivery loop that beat runs: until nothing is due, or for good."""

    help = "Tell billers' systems what is due: until nothing is, or for good with --stay."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what may be asked for."""
        parser.add_argument("--stay", action="store_true", help="go on until interrupted, as a service of its own")
        parser.add_argument("--seconds", type=float, default=60.0, help="hand over after so long (60)")
        parser.add_argument(
            "--shards", default="", help=f"serve these shards only, such as 0-7 or 1,3 (0-{rows.SHARDS - 1})"
        )
        parser.add_argument("--waits", type=float, default=1.0, help="make every wait so many times as long, for tests")
        parser.add_argument("--grace", type=float, default=15.0, help="seconds a claim outlives its call (15)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Deliver."""
        shards = _shards(options["shards"])
        actor = Actor.system("manage.py deliver")
        while True:
            resends.work(actor=actor)
            tally = deliveries.deliver(
                actor=actor,
                seconds=options["seconds"],
                shards=shards,
                waits=options["waits"],
                grace=timedelta(seconds=options["grace"]),
            )
            if tally.calls or not options["stay"]:
                self.stdout.write(
                    f"delivered {tally.delivered}, refused {tally.refused}, without an outcome {tally.unknown},"
                    f" in {tally.calls} calls"
                )
            if not options["stay"]:
                return
            if not tally.more:
                time.sleep(1)


def _shards(text: str) -> list[int] | None:
    if not text:
        return None
    found: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except ValueError:
        raise CommandError("--shards is a list such as 0-7 or 1,3.") from None
    if not found or not found <= set(range(rows.SHARDS)):
        raise CommandError(f"--shards are from 0 to {rows.SHARDS - 1}.")
    return sorted(found)
