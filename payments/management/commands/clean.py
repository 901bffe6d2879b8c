"""``manage.py clean``: counts what is unresolved, lists one kind, and lets a person resolve it (PAY-9)."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import formats, tenancy
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.models import Biller
from payments.gateways.base import Command as GatewayCommand
from payments.management.arguments import billers_named, count
from payments.models import Attempt, Verification
from payments.operations import cleanings, verifications
from payments.reports.unresolved_attempts import AGES, unresolved_by_command


class Command(BaseCommand):
    help = (
        "Counts attempts without a result by kind and age; --list names those of one kind, --give-up and --attempt resolve"
        " them. Nothing is deleted: who resolved it, and why, is kept."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        kinds = [str(kind) for kind in GatewayCommand]
        parser.add_argument("--biller", default="all", help="The biller's slug, or 'all'.")
        parser.add_argument("--summary", action="store_true", help="Count by kind and age; this is done by default.")
        parser.add_argument("--limit", type=count, help="Count, list or resolve at most so many, the oldest first.")
        parser.add_argument("--list", dest="listed", choices=kinds, help="List the attempts of one kind.")
        parser.add_argument("--batch", default="", help="Only those of one batch: RUN/PART, such as 17/2.")
        parser.add_argument(
            "--give-up", choices=kinds, help="Give up what may be of one kind; needs --because and --by."
        )
        parser.add_argument("--attempt", help="Resolve one attempt, by its id; needs --charged or --not-charged.")
        parser.add_argument("--charged", action="store_true", help="The money was taken: record the payment.")
        parser.add_argument("--not-charged", action="store_true", help="It was not taken: give the attempt up.")
        parser.add_argument("--approval-code", default="", help="The processor's approval code, with --charged.")
        parser.add_argument("--because", default="", help="The reason and the evidence; kept with the case.")
        parser.add_argument("--by", default="", help="Your name; kept with the case.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._refuse_mixed(options)
        if options["biller"] == "all" and (options["attempt"] or options["give_up"]):
            raise CommandError("Name the biller with --biller.")
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                try:
                    self._clean(biller, options)
                except DomainError as refused:
                    raise CommandError(f"{biller}: {refused}") from None

    def _refuse_mixed(self, options: dict[str, Any]) -> None:
        """Refuse options that would be passed over: whoever gave them meant something else than what would be done."""
        chosen = [name for name in ("attempt", "give_up", "listed") if options[name]]
        if len(chosen) > 1:
            raise CommandError("Choose one of --list, --give-up and --attempt.")
        if (options["charged"] or options["not_charged"] or options["approval_code"]) and not options["attempt"]:
            raise CommandError(
                "--charged, --not-charged and --approval-code are about one attempt: name it with --attempt."
            )
        if options["approval_code"] and not options["charged"]:
            raise CommandError("--approval-code goes with --charged.")
        if options["batch"] and not (options["listed"] or options["give_up"]):
            raise CommandError("--batch goes with --list or --give-up.")

    def _clean(self, biller: Biller, options: dict[str, Any]) -> None:
        if options["attempt"]:
            self._resolve(biller, options)
        elif options["give_up"]:
            self._give_up(biller, options)
        elif options["listed"]:
            self._list(biller, options)
        else:
            self._summary(biller, options["limit"])

    def _summary(self, biller: Biller, limit: int | None) -> None:
        bands = "".join(f"{words:>15}" for words, _until in AGES)
        self.stdout.write(
            f"{biller}, without a result for five minutes or more\n{'':<15}{'no answer':>10}{'answered':>10}{'money':>16}{bands}"
        )
        for one in unresolved_by_command(biller=biller, now=timezone.now(), limit=limit):
            ages = "".join(f"{count:>15,}" for count in one.ages)
            self.stdout.write(f"{one.kind:<15}{one.open:>10,}{one.answered:>10,}{one.total:>16,}{ages}")

    def _list(self, biller: Biller, options: dict[str, Any]) -> None:
        if options["listed"] == GatewayCommand.VERIFY:
            questions = verifications.unanswered(biller=biller, now=timezone.now(), limit=options["limit"])
            for question in questions:
                self.stdout.write(self._question(question, biller))
            self._advise(biller, len(questions), options["listed"])
            return
        found = cleanings.unresolved(
            biller=biller,
            now=timezone.now(),
            command=options["listed"],
            batch=options["batch"],
            limit=options["limit"],
        )
        numbers = cleanings.numbers_of(found)
        for attempt in found:
            batch = cleanings.batch_of(attempt, numbers)
            self.stdout.write(f"{self._line(attempt, biller)}{f'  batch {batch}' if batch else ''}")
        self._advise(biller, len(found), options["listed"])

    def _advise(self, biller: Biller, count: int, command: str) -> None:
        advice = cleanings.WHAT_TO_DO[command] if count else "None has been without a result for five minutes."
        self.stdout.write(f"{biller}: {count}. {advice}")

    def _line(self, attempt: Attempt, biller: Biller) -> str:
        payment = attempt.payment
        with timezone.override(biller.zone):
            began = formats.moment(attempt.created_at)
        method = payment.instrument or payment.get_tender_display()
        return (
            f"{attempt.pk}  {attempt.command} {attempt.amount} {payment.currency}  account {payment.customer.shown_number}"
            f"  {method}  {attempt.result}  {began}"
        )

    def _actor(self, options: dict[str, Any]) -> Actor:
        if not options["because"].strip() or not options["by"].strip():
            raise CommandError("Say why with --because, and who you are with --by: both are kept.")
        return Actor(Requestor.OPERATOR, options["by"].strip())

    def _question(self, question: Verification, biller: Biller) -> str:
        with timezone.override(biller.zone):
            began = formats.moment(question.created_at)
        return (
            f"{question.pk}  verify  account {question.customer.shown_number}  {question}  {question.result}  {began}"
        )

    def _give_up(self, biller: Biller, options: dict[str, Any]) -> None:
        if options["give_up"] == GatewayCommand.VERIFY:
            given_up = verifications.give_up(
                biller=biller,
                reason=options["because"],
                actor=self._actor(options),
                now=timezone.now(),
                limit=options["limit"],
            )
            for question in given_up:
                self.stdout.write(f"given up  {self._question(question, biller)}")
            self.stdout.write(f"{biller}: {len(given_up)} given up, 0 left")
            return
        done = cleanings.give_up_all(
            biller=biller,
            command=options["give_up"],
            evidence=options["because"],
            actor=self._actor(options),
            now=timezone.now(),
            batch=options["batch"],
            limit=options["limit"],
        )
        for attempt in done.given_up:
            self.stdout.write(f"given up  {self._line(attempt, biller)}")
        for attempt, why in done.refused:
            self.stdout.write(f"left      {self._line(attempt, biller)}  {why}")
        self.stdout.write(f"{biller}: {len(done.given_up)} given up, {len(done.refused)} left")

    def _resolve(self, biller: Biller, options: dict[str, Any]) -> None:
        if options["charged"] == options["not_charged"]:
            raise CommandError("Say either --charged or --not-charged.")
        actor = self._actor(options)
        try:
            attempt = cleanings.find(biller=biller, attempt_id=uuid.UUID(options["attempt"]))
        except ValueError:
            raise CommandError(f"{options['attempt']!r} is not an attempt's id.") from None
        if attempt is None:
            raise CommandError(f"{biller} has no attempt {options['attempt']}.")
        cleanings.resolve(
            attempt=attempt,
            charged=options["charged"],
            evidence=options["because"],
            approval_code=options["approval_code"],
            actor=actor,
            now=timezone.now(),
        )
        self.stdout.write(
            f"{biller}: {'recorded' if options['charged'] else 'given up'}  {self._line(attempt, biller)}"
        )
