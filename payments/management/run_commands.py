"""What commands that plan a run and work it off in this process have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import formats, tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Chunk, Run
from payments.gateways.base import Result
from payments.management.arguments import billers_named, count
from payments.models.payments import CHECKPOINT
from payments.reports.runs import run_failures, run_totals
from payments.results import in_words


class RunCommand(BaseCommand):
    """A command named after what it does, for one biller or all of them; a subclass says which run, and in which words.

    ``planned`` and ``dry`` are written with ``{things}``, such as "2 bills", and ``{total}``; ``planned`` also with ``{window}``.
    """

    name: str
    planned: str
    dry: str
    thing = "payment"
    done = "paid"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--biller", required=True, help="The biller's slug, or 'all'.")
        parser.add_argument("--limit", type=count, help="At most so many.")
        parser.add_argument("--dry-run", action="store_true", help="Count what the run would take; take nothing.")
        parser.add_argument(
            "--report", action="store_true", help="Say in the end what came of it, by result and money."
        )
        parser.add_argument("--again", default="", help="A word that tells this run from an earlier one of today.")

    @abstractmethod
    def chosen(self, biller: Biller, given: dict[str, Any], **common: Any) -> Any:
        """Give the run's options; ``common`` are those that every run has."""

    @abstractmethod
    def plan(self, **planning: Any) -> Run:
        """Plan the run as the operation does."""

    @abstractmethod
    def work(self, *, run: Run, actor: Actor) -> Iterator[Chunk]:
        """Work the run off as the operation does."""

    @abstractmethod
    def window(self, biller: Biller, chosen: Any) -> str:
        """Say of which days the run takes something."""

    def after(self, biller: Biller, run: Run) -> None:
        """Say what else is to be said of a run that was worked off."""

    def handle(self, *args: Any, **options: Any) -> None:
        for biller in billers_named(options["biller"]):
            with tenancy.acting_for([biller.pk]):
                self._run(biller, options)

    def _run(self, biller: Biller, options: dict[str, Any]) -> None:
        now, actor = timezone.now(), Actor.system(f"manage.py {self.name}")
        chosen = self.chosen(biller, options, limit=options["limit"], repeat=options["again"])
        try:
            run = self.plan(biller=biller, options=chosen, actor=actor, now=now, dry_run=options["dry_run"])
        except DomainError as error:
            raise CommandError(str(error)) from None
        totals = run_totals(run)
        words = {
            "things": f"{totals.expected:,} {self.thing}{'' if totals.expected == 1 else 's'}",
            "total": f"{totals.expected_total} {biller.currency}",
            "window": self.window(biller, chosen),
        }
        self.stdout.write(f"{biller}: run {run.pk}, {self.planned.format(**words)}")
        if run.created_at != now:
            with timezone.override(biller.zone):
                began = formats.moment(run.created_at)
            self.stdout.write(f"{biller}: this is the run of {began}; --again WORD makes another one")
        if options["dry_run"]:
            self.stdout.write(f"{biller}: dry run, {self.dry.format(**words)}")
            return
        for chunk in self.work(run=run, actor=actor):
            self.stdout.write(
                f"{biller}: chunk {chunk.number}: sent {chunk.sent_count} ({chunk.sent_total}), "
                f"{self.done} {chunk.passed_count} ({chunk.passed_total}), declined {chunk.declined_count}"
                f"{f', not reached {chunk.unreached_count}' if chunk.unreached_count else ''}"
            )
        self.after(biller, run)
        run = Run.objects.get(pk=run.pk)
        if options["report"]:
            self._report(biller, run)
        self.stdout.write(f"{biller}: run {run.pk}: {run.get_state_display().lower()}. {run.failure}".rstrip())

    def _report(self, biller: Biller, run: Run) -> None:
        """Say what came of a run, by result and money."""
        totals = run_totals(run)
        lines: list[tuple[str, int, object]] = [(in_words(Result.PASS), totals.passed, totals.passed_total)]
        lines += [(one.code or one.words, one.count, one.amount) for one in run_failures(run)]
        lines += [
            (in_words(CHECKPOINT), totals.unknown, totals.unknown_total),
            ("Not charged: declined too often", totals.limited, ""),
            ("Not charged: what is owed could not be asked", totals.held, ""),
            (
                "Not sent: nothing was left to take, or the run ended before",
                max(0, totals.waiting - totals.held - totals.limited),
                "",
            ),
        ]
        for words, number, amount in lines:
            if number:
                self.stdout.write(f"{biller}: {words}: {number}{f' ({amount} {biller.currency})' if amount else ''}")
