"""``manage.py import_pay_by_text``: takes enrolments in pay by text over from another vendor's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from sms.operations import imports

_SHOWN = 20
_EVERY = 1_000


class Command(BaseCommand):
    help = (
        "Enrols the customers of a CSV file at once, on the consent that they gave elsewhere: "
        + ", ".join(imports.COLUMNS)
        + ". One wrong line keeps everything out. The same file again changes nothing more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--biller", required=True, help="The biller's slug.")
        parser.add_argument("--dry-run", action="store_true", help="Only check; change nothing.")
        parser.add_argument("--good-rows", action="store_true", help="Leave wrong lines out and take the others.")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            biller = Biller.objects.filter(slug=options["biller"]).first()
        if biller is None:
            raise CommandError(f"There is no biller {options['biller']!r}.")
        try:
            with tenancy.acting_for([biller.pk]):
                outcome = imports.import_enrolments(
                    biller=biller, body=path.read_bytes(), name=path.name, actor=Actor.system("manage.py import_pay_by_text"),
                    dry_run=options["dry_run"], good_rows=options["good_rows"], watch=self._tell,
                )  # fmt: skip
        except (DomainError, OSError) as refused:
            raise CommandError(f"{path.name}: {refused}") from None
        for fault in outcome.faults[:_SHOWN]:
            self.stderr.write(f"  line {fault.line}: {fault.field} {fault.reason} {fault.value}".rstrip())
        if len(outcome.faults) > _SHOWN:
            self.stderr.write(f"  and {len(outcome.faults) - _SHOWN:,} more")
        counted = f"{outcome.rows:,} rows, {outcome.new:,} to enrol or change, {outcome.same:,} as they are"
        if outcome.done:
            counted = f"{outcome.rows:,} rows, {outcome.new:,} enrolled or changed, {outcome.same:,} as they were"
        self.stdout.write(f"{biller}: {path.name}: {counted}, {len(outcome.faults):,} faults")
        if outcome.faults and not (outcome.done or options["dry_run"]):
            raise CommandError("Nothing was imported. Put the lines right, or leave them out with --good-rows.")

    def _tell(self, done: int) -> None:
        if done % _EVERY == 0:
            self.stdout.write(f"{done:,} so far")
