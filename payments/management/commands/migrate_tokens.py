"""``manage.py migrate_tokens``: moves methods on file to another processor, by its tokens for theirs (PAY-17)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from payments.gateways.base import GatewayError
from payments.management.arguments import biller_named, count, date, route_named
from payments.operations import tokens


class Command(BaseCommand):
    help = (
        "Puts methods of one route on file anew at another, with the tokens that its processor has for them. FILE has two"
        " columns: old token, new token. Any number of times."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--biller", required=True, help="The biller's slug.")
        parser.add_argument("--from", dest="old", required=True, help="The route of the old processor, by name.")
        parser.add_argument("--to", dest="new", required=True, help="The route of the new one.")
        parser.add_argument("--account", default="", help="Only of this account.")
        parser.add_argument("--start", type=date, help="Only methods put on file from this day on.")
        parser.add_argument("--end", type=date, help="… and up to this day.")
        parser.add_argument("--limit", type=count, help="At most so many methods, to try it out.")
        parser.add_argument("--dry-run", action="store_true", help="Ask the new processor, change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        biller = biller_named(options["biller"])
        with tenancy.acting_for([biller.pk]):
            old, new = route_named(biller, options["old"]), route_named(biller, options["new"])
            assert old is not None and new is not None
            try:
                with options["file"].open(encoding="utf-8-sig", newline="") as lines:
                    pairs = tokens.read_pairs(lines)
                done = tokens.migrate(
                    biller=biller,
                    old=old,
                    new=new,
                    pairs=pairs,
                    actor=Actor.system("manage.py migrate_tokens"),
                    account=options["account"],
                    start=options["start"],
                    end=options["end"],
                    limit=options["limit"],
                    dry_run=options["dry_run"],
                )
            except OSError as error:
                raise CommandError(f"{options['file']}: {error.strerror}.") from None
            except UnicodeDecodeError:
                raise CommandError(f"{options['file']} is not a text file.") from None
            except DomainError as refused:
                raise CommandError(str(refused)) from None
            except GatewayError:
                raise CommandError(
                    f"The processor of {new} does not answer. Run it again: what was moved is moved."
                ) from None
        for instrument, why in done.left:
            self.stdout.write(f"left      account {instrument.customer.shown_number}  {instrument}  {why}")
        would = "would be moved" if options["dry_run"] else "moved"
        self.stdout.write(f"{biller}: {done.moved} {would}, {len(done.left)} left, {done.unknown} not in the file")
