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
        left = [biller for biller in billers_named(options["biller"]) if not self._reconcile_in_scope(biller, options)]
        if left:
            with tenancy.acting_for([biller.pk for biller in left]):
                stopped = Biller.objects.filter(pk__in=[biller.pk for biller in left], charging_stopped=True).count()
            nothing = " Nothing is charged there." if stopped == len(left) else ""
            raise CommandError(f"Not reconciled: {', '.join(str(biller) for biller in left)}.{nothing}")

    def _reconcile_in_scope(self, biller: Biller, options: dict[str, Any]) -> bool:
        with tenancy.acting_for([biller.pk]):
            return self._reconcile(biller, options)

    def _reconcile(self, biller: Biller, options: dict[str, Any]) -> bool:
        actor = Actor.system("manage.py reconcile")
        restored = biller.restored_at is not None or biller.reconcile_since is not None
        if not restored and options["since"] is None and not options["without"]:
            return self._nothing_to_compare(biller, actor, options)
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
            self._allow_charging(biller, actor)
        elif biller.charging_stopped:
            self.stdout.write(f"{biller}: nothing stands in the way. manage.py check_books, then allow charging again")
        return True

    def _nothing_to_compare(self, biller: Biller, actor: Actor, options: dict[str, Any]) -> bool:
        """Say that no restore waits to be compared; charging is allowed again where one biller is named for it."""
        self.stdout.write(f"{biller}: no restore waits to be compared; --since compares what was charged since then")
        if options["allow_charging"] and options["biller"] != "all":
            self._allow_charging(biller, actor)
        elif biller.charging_stopped:
            self.stdout.write(
                f"{biller}: charging is stopped; manage.py reconcile --biller {biller.slug} --allow-charging allows it"
            )
        return True

    def _allow_charging(self, biller: Biller, actor: Actor) -> None:
        try:
            billers.allow_charging(biller=biller, actor=actor)
        except billers.AlreadySo:
            self.stdout.write(f"{biller}: charging was not stopped")
        else:
            self.stdout.write(f"{biller}: charging is allowed again")
