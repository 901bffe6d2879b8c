"""``manage.py reconcile``: compares our book with the processors' by reference, after a restore from a backup."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from billing.operations import billers
from payments.gateways.base import GatewayError
from payments.management.arguments import billers_named, moment, route_named
from payments.operations import reconciliations


class Command(BaseCommand):
    help = (
        "Compares every charge that the processors' response files name with ours: records what we lost, settles what has"
        " no answer, and opens cases for the rest. Any number of times."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug, or 'all'.")
        parser.add_argument(
            "--since", type=moment, help="Compare charges since then (UTC); by default as the restore says."
        )
        parser.add_argument(
            "--without",
            action="append",
            metavar="ROUTE",
            help="Leave out a route whose processor can no longer be asked; may be said for several. It is written down.",
        )
        parser.add_argument(
            "--allow-charging", action="store_true", help="Let charging go on where nothing stands in the way."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        left = [
            str(biller) for biller in billers_named(options["biller"]) if not self._reconcile_in_scope(biller, options)
        ]
        if left:
            raise CommandError(f"Not reconciled: {', '.join(left)}. Nothing is charged there.")

    def _reconcile_in_scope(self, biller: Biller, options: dict[str, Any]) -> bool:
        with tenancy.acting_for([biller.pk]):
            return self._reconcile(biller, options)

    def _reconcile(self, biller: Biller, options: dict[str, Any]) -> bool:
        actor = Actor.system("manage.py reconcile")
        if options["biller"] == "all" and options["since"] is None and biller.reconcile_since is None:
            self.stdout.write(f"{biller}: was not restored")
            return True
        try:
            without = [route for name in options["without"] or () if (route := route_named(biller, name))]
            found = reconciliations.reconcile(
                biller=biller, since=options["since"], without=without, actor=actor, now=timezone.now()
            )
        except (CommandError, DomainError, GatewayError) as error:
            # The others are reconciled all the same.
            self.stdout.write(f"{biller}: {error}")
            return False
        self.stdout.write(
            f"{biller}: {found.confirmed} charges alike, {found.recorded} of {found.recorded_total} recorded,"
            f" {found.settled.posted + found.settled.failed - found.recorded} settled, {found.abandoned} given up as absent,"
            f" {found.held} held there and left to expire, {found.cases} cases to decide, {found.missing} that they do not name"
        )
        if found.why_not:
            self.stdout.write(f"{biller}: {found.why_not}")
            return False
        if options["allow_charging"]:
            try:
                billers.allow_charging(biller=biller, actor=actor)
            except billers.AlreadySo:
                self.stdout.write(f"{biller}: charging was not stopped")
            else:
                self.stdout.write(f"{biller}: charging is allowed again")
        return True
