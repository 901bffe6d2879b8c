"""``manage.py import_invoices``: receives invoice files and loads them in this process (MSP-21)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, FileState, InvoiceFile
from billing.operations import invoice_files
from payments.operations import carryovers

_ERRORS_SHOWN = 20


class Command(BaseCommand):
    help = "Loads invoice files; fails where one is refused. The file's name says whose it is: 2778_11222026.bif."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--name", help="What a single file is called, where its own name is another.")
        parser.add_argument("--later", action="store_true", help="Only receive; a worker loads.")

    def handle(self, *args: Any, **options: Any) -> None:
        paths: list[Path] = options["files"]
        if options["name"] and len(paths) > 1:
            raise CommandError("--name is for one file.")
        refused = 0
        for path in paths:
            refused += not self._import(path, options["name"] or path.name, later=options["later"])
        if refused:
            raise CommandError(f"{refused} of {len(paths)} files refused.")

    def _import(self, path: Path, name: str, *, later: bool) -> bool:
        actor = Actor.system("manage.py import_invoices")
        try:
            biller = self._biller(name)
            with tenancy.acting_for([biller.pk]):
                with path.open("rb") as body:
                    file = invoice_files.receive(biller=biller, name=name, body=body, source="command", actor=actor)
                if later:
                    self.stdout.write(f"{name}: received for {biller}")
                    return True
                file = invoice_files.load(
                    file_id=file.pk,
                    actor=actor,
                    carry=carryovers.carry,
                    watch=lambda columns: self._tell(name, columns),
                )
                return self._report(file)
        except invoice_files.AlreadyReceived as there:
            self.stdout.write(f"{name}: {there}")
            return True
        except (DomainError, OSError) as error:
            self.stderr.write(f"{name}: {error}")
            return False

    def _biller(self, name: str) -> Biller:
        number = invoice_files.biller_number(name)
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            biller = Biller.objects.filter(number=number).first()
        if biller is None:
            raise invoice_files.BadFileName(f"There is no biller number {number}.")
        return biller

    def _tell(self, name: str, columns: Mapping[str, Any]) -> None:
        for column, words in _STEPS.items():
            if column in columns:
                self.stdout.write(f"{name}: {words.format(columns[column])}")

    def _report(self, file: InvoiceFile) -> bool:
        currency = file.biller.currency
        if file.state == FileState.LOADED:
            words = f"loaded {file.loaded_count:,} invoices, {file.loaded_total:,.2f} {currency}"
            if file.repeated_count:
                words += f"; {file.repeated_count:,} were on file already"
            if file.carried_total:
                words += f"; {file.carried_total:,.2f} {currency} carried forward"
        else:
            words = f"refused. {file.refusal}"
        self.stdout.write(f"{file.name}: {words}")
        for error in file.errors.order_by("line", "pk")[:_ERRORS_SHOWN]:
            self.stdout.write(f"  line {error.line}: {error.field} {error.reason} {error.value}".rstrip())
        more = file.error_count + file.left_out_count - _ERRORS_SHOWN
        if more > 0:
            self.stdout.write(f"  and {more:,} more")
        return file.state == FileState.LOADED


_STEPS = {
    "bytes_read": "read {:,} bytes",
    "found_count": "found {:,} invoices",
    "found_total": "they add up to {:,.2f}",
    "loaded_count": "loaded {:,} so far",
}
