"""``manage.py messages``: gather the words to translate, then compile what is translated."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.management.commands import makemessages

LANGUAGES = ("es",)
_IGNORED = (
    ".venv",
    "node_modules",
    "var",
    "tests",
    "bench",
    "templates/styleguide",
    "billing/biller_portal/styleguide.py",
)


class Gather(makemessages.Command):
    """Django's own gathering, without guesses at translations of words that merely look alike."""

    msgmerge_options = [*makemessages.Command.msgmerge_options, "--no-fuzzy-matching"]


class Command(BaseCommand):
    """Gathers and compiles."""

    help = "Gather words from templates and code into locale/ (with GNU gettext), name those without Spanish, compile."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the option."""
        parser.add_argument("--compile-only", action="store_true", help="Do not gather; needs nothing installed.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        if not options["compile_only"]:
            if shutil.which("xgettext") is None:
                raise CommandError("Gathering words needs GNU gettext: apt-get install gettext. Or use --compile-only.")
            call_command(
                Gather(),
                locale=list(LANGUAGES),
                ignore_patterns=list(_IGNORED),
                add_location="file",
                no_obsolete=True,
                no_wrap=True,
                verbosity=0,
            )
        for language in LANGUAGES:
            directory = settings.BASE_DIR / "locale" / language / "LC_MESSAGES"
            with (directory / "django.po").open("rb") as file:
                catalogue = read_po(file, locale=language)
            with (directory / "django.mo").open("wb") as file:
                write_mo(file, catalogue)
            missing = [message for message in catalogue if message.id and not any(message.string or ())]
            for message in missing:
                self.stdout.write(
                    f"{language}: no words for {message.id!r} ({', '.join(path for path, _ in message.locations)})"
                )
            self.stdout.write(f"{language}: {len(catalogue) - len(missing)} of {len(catalogue)} translated.")
