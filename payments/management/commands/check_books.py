"""``manage.py check_books``: proves the books and prints each invariant with its count."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import tenancy
from billing.audit import broken_seals
from payments.books import findings, snapshot


class Command(BaseCommand):
    help = "Proves the invariants of the books over all billers; fails where one does not hold."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="Print only what is wrong.")

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        with tenancy.acting_for(tenancy.EVERY_BILLER), snapshot():
            for finding in findings():
                if finding.wrong or not options["quiet"]:
                    verdict = "ok" if not finding.wrong else f"{finding.wrong:,} WRONG: {', '.join(finding.examples)}"
                    self.stdout.write(
                        f"{finding.check.number:>11}  {finding.check.says:<120} {finding.counted:>12,}  {verdict}"
                    )
                broken += bool(finding.wrong)
            seals = list(broken_seals())
            verdict = "ok" if not seals else f"WRONG from {seals[0]}"
            if seals or not options["quiet"]:
                self.stdout.write(
                    f"{'seal':>11}  {'The audit trail is as it was when it was sealed':<120} {'':>12}  {verdict}"
                )
            broken += bool(seals)
        if broken:
            raise CommandError(f"{broken} of the checks do not hold.")
        self.stdout.write("The books agree with themselves.")
