"""What operators type: a wrong date, biller, route or amount is refused in words that say what would be right."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing.models import AuditEntry, Biller, Run
from tests.factories import make_biller, make_route

DATE = "neither a date such as 2026-11-22 nor a number of days before today."


@pytest.fixture
def biller() -> Biller:
    biller = make_biller(name="Oak Hollow", slug="oak-hollow")
    make_route(biller, name="Cards")
    make_route(biller, name="Bank accounts")
    return biller


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("collect --biller nobody", "There is no biller 'nobody'; there is 'oak-hollow'."),
        ("collect --biller oak-hollow --start tomorrow", f"argument --start: 'tomorrow' is {DATE}"),
        ("collect --biller oak-hollow --start 2026-02-30", f"argument --start: '2026-02-30' is {DATE}"),
        ("collect --biller oak-hollow --end -3", f"argument --end: '-3' is {DATE}"),
        ("collect --biller oak-hollow --start 99999999999", f"argument --start: '99999999999' is {DATE}"),
        ("collect --biller oak-hollow --minimum NaN", "argument --minimum: 'NaN' is not an amount such as 5.00."),
        ("collect --biller oak-hollow --minimum 5,00", "argument --minimum: '5,00' is not an amount such as 5.00."),
        ("collect --biller oak-hollow --minimum -1", "argument --minimum: '-1' is not an amount such as 5.00."),
        ("collect --biller oak-hollow --limit 0", "argument --limit: '0' is not a number of one or more."),
        (
            "collect --biller oak-hollow --route Checks",
            "Oak Hollow has no route 'Checks'; it has 'Bank accounts', 'Cards'.",
        ),
        ("deposit --biller oak-hollow --limit -1", "argument --limit: '-1' is not a number of one or more."),
        (
            "deposit --biller oak-hollow --start 1 --end 9",
            "The last day of authorization must be the first one or a later one.",
        ),
        (
            "release --biller oak-hollow --start 31 --end 60",
            "The last day of authorization must be the first one or a later one.",
        ),
        ("release --biller oak-hollow --route ''", "Oak Hollow has no route ''; it has 'Bank accounts', 'Cards'."),
        (
            "late --biller oak-hollow --date 2099-01-01",
            "Oak Hollow: 2099-01-01 has not come yet: only a dry run looks ahead.",
        ),
        ("migrate_tokens FILE --biller all --from Cards --to Cards", "Name one biller with --biller."),
        (
            "migrate_tokens FILE --biller oak-hollow --from Old --to Cards",
            "Oak Hollow has no route 'Old'; it has 'Bank accounts', 'Cards'.",
        ),
        (
            "migrate_tokens FILE --biller oak-hollow --from Cards --to Cards --start 1.5.2026",
            "argument --start: '1.5.2026' is not a date such as 2026-11-22.",
        ),
        ("purge_tokens --days 40000", "argument --days: '40000' is more than 36500 days."),
        (
            "clean --biller oak-hollow --charged --because Report --by Dana",
            "--charged, --not-charged and --approval-code are about one attempt: name it with --attempt.",
        ),
        ("clean --biller oak-hollow --list charge --give-up charge", "Choose one of --list, --give-up and --attempt."),
        ("clean --biller oak-hollow --batch 17/2", "--batch goes with --list or --give-up."),
        (
            "clean --biller oak-hollow --list charge --batch 17",
            "Oak Hollow: Name a batch by its run and part, such as 17/2.",
        ),
        (
            "reconcile --biller oak-hollow --since yesterday",
            "argument --since: 'yesterday' is not a moment such as 2026-11-22T04:00.",
        ),
    ],
)
def test_what_is_typed_wrongly_is_refused_in_words_and_does_nothing(
    biller: Biller, tmp_path: Path, typed: str, said: str
) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text("tok_old_1,tok_new_1\n")
    name, *words = shlex.split(typed.replace("FILE", str(file)))
    entries = AuditEntry.objects.count()
    with pytest.raises(CommandError) as refused:
        call_command(name, *words, stdout=io.StringIO())
    assert str(refused.value).removeprefix("Error: ") == said
    assert (Run.objects.count(), AuditEntry.objects.count()) == (0, entries)
