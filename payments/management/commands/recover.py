"""``manage.py recover``: resolves attempts whose outcome nobody was told (PAY-10)."""

from __future__ import annotations

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from payments.gateways.base import GatewayError
from payments.management.arguments import billers_named
from payments.operations import cleanings, recoveries, returns


class Command(BaseCommand):
    help = "Looks up unresolved attempts and settles them; --rfr reads the processors' response files first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all'.")
        parser.add_argument("--rfr", action="store_true", help="Read the processors' response files.")
        parser.add_argument("--returns", action="store_true", help="Read returns and chargebacks, and nothing else.")
        parser.add_argument(
            "--recover-payment", action="store_true", help="Only record payments that were charged and not recorded."
        )
        parser.add_argument(
            "--resubmit",
            metavar="RUN/PART",
            help="Send what is unresolved of a batch again, under its own ids; refused where it could be charged twice.",
        )
        parser.add_argument("--now", action="store_true", help="Look up young attempts too, without a pause.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["resubmit"] and options["biller"] == "all":
            raise CommandError("Name the biller of the batch with --biller.")
        actor = Actor.system("manage.py recover")
        failed = []
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                try:
                    self._recover(biller, actor, options)
                except (CommandError, GatewayError) as error:
                    # The others are recovered all the same.
                    failed.append(f"{biller}: {error}")
        if failed:
            raise CommandError("\n".join(failed))

    def _resubmit(self, biller: Biller, actor: Actor, batch: str) -> None:
        try:
            run_id, number = cleanings.read_batch(batch)
            sent = recoveries.resubmit(biller=biller, run_id=run_id, number=number, actor=actor, now=timezone.now())
        except (DomainError, GatewayError) as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(
            f"{biller}: {sent.resent} sent again, {sent.settled.posted} payments of {sent.settled.posted_total} recorded, "
            f"{sent.settled.failed} failed, {sent.waiting} without an answer"
        )

    def _recover(self, biller: Biller, actor: Actor, options: dict[str, Any]) -> None:
        if options["resubmit"]:
            self._resubmit(biller, actor, options["resubmit"])
            return
        if options["recover_payment"]:
            done = recoveries.finish_answered(biller=biller, actor=actor)
            self.stdout.write(f"{biller}: {done.posted} payments of {done.posted_total} recorded, {done.failed} failed")
            return
        if options["returns"]:
            try:
                told = returns.read(biller=biller, actor=actor, now=timezone.now())
            except GatewayError as error:
                raise CommandError(f"returns could not be read: {error}") from None
            self.stdout.write(
                f"{biller}: {told.taken} returns and chargebacks booked, {told.unknown} of charges that are not known"
            )
            return
        if options["rfr"]:
            try:
                read = recoveries.read_response_files(biller=biller, actor=actor)
            except GatewayError as error:
                raise CommandError(f"the response files could not be read: {error}") from None
            self.stdout.write(
                f"{biller}: response files settled {read.settled.posted} payments of {read.settled.posted_total}, "
                f"{read.settled.failed} failed, {read.abandoned} abandoned as absent"
            )
        timing = {"least_age": datetime.timedelta(0), "pause": datetime.timedelta(0)} if options["now"] else {}
        found = recoveries.recover(biller=biller, actor=actor, **timing)
        self.stdout.write(
            f"{biller}: {found.settled.posted} payments of {found.settled.posted_total} settled, {found.settled.failed} failed, "
            f"{found.resent} sent again, {found.cases} cases, {found.waiting} still open"
        )
