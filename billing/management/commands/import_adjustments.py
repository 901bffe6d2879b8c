"""``manage.py import_adjustments``: takes credits and debits on accounts from a file of the biller's own system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from billing.operations import adjustment_files
from billing.operations.adjustments import AdjustmentsRefused

_SHOWN = 20


class Command(BaseCommand):
    help = (
        "Adjusts accounts by a CSV file: "
        + ", ".join(adjustment_files.COLUMNS)
        + ". One wrong line keeps everything out. The same file again changes nothing more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--biller", required=True, help="The biller's slug.")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            biller = Biller.objects.filter(slug=options["biller"]).first()
        if biller is None:
            raise CommandError(f"There is no biller {options['biller']!r}.")
        try:
            with tenancy.acting_for([biller.pk]):
                adjusted = adjustment_files.import_file(
                    biller=biller, body=path.read_bytes(), name=path.name,
                    actor=Actor.system("manage.py import_adjustments"), now=timezone.now(),
                )  # fmt: skip
        except AdjustmentsRefused as refused:
            for fault in refused.faults[:_SHOWN]:
                self.stderr.write(f"  line {fault.line}: {fault.field} {fault.reason} {fault.value}".rstrip())
            if len(refused.faults) > _SHOWN:
                self.stderr.write(f"  and {len(refused.faults) - _SHOWN:,} more")
            raise CommandError(f"{path.name}: {refused}") from None
        except (DomainError, OSError) as refused:
            raise CommandError(f"{path.name}: {refused}") from None
        same = len(adjusted.ids) - adjusted.new
        total = f"{adjusted.total:,.2f} {biller.currency}"
        self.stdout.write(f"{biller}: {path.name}: {adjusted.new:,} booked, {total}; {same:,} were on file already")
