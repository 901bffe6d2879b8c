"""Enrolments in pay by text from another vendor's file: checked, then taken over."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.errors import DomainError
from billing.permissions import Permission
from sms.operations import imports
from sms.operations.imports import Outcome

MOST = 250
"""Rows that a person waits for; an operator's command takes more."""

_SHOWN = 200
_CHECK, _ALL, _GOOD = "check", "all", "good"


class ImportForm(forms.Form):
    """A file, and what to do with it."""

    file = forms.FileField(
        label="File of enrolments",
        max_length=200,
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,text/csv"}),
        error_messages={"required": "Choose the file first", "empty": "This file is empty."},
        help_text="CSV in UTF-8. Its first line names the columns.",
    )
    what = forms.ChoiceField(
        label="What to do",
        choices=[
            (_CHECK, "Only check it"),
            (_ALL, "Enrol everybody, or nobody where a line is wrong"),
            (_GOOD, "Enrol everybody but those whose line is wrong"),
        ],
        initial=_CHECK,
        widget=forms.RadioSelect,
    )


@biller_page(Permission.LOAD_FILE)
def enrolments_of_file(request: BillerRequest) -> HttpResponse:
    """Draw the form; a POST checks the file and enrols its customers, or says line by line what is wrong."""
    sent = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    form = ImportForm(*sent)
    outcome = None
    if form.is_bound and form.is_valid():
        given: UploadedFile[bytes] = form.cleaned_data["file"]
        what = form.cleaned_data["what"]
        try:
            outcome = imports.import_enrolments(
                biller=request.biller,
                body=given.read(imports.LARGEST + 1),
                name=given.name or "",
                actor=request.actor,
                dry_run=what == _CHECK,
                good_rows=what == _GOOD,
                most=MOST,
            )
        except DomainError as refused:
            form.add_error("file", str(refused))
        else:
            if not outcome.faults:
                messages.success(request, f"{given.name}: {_words(outcome)}.")
                return redirect("biller-text-import")
    context: dict[str, Any] = {
        "title": "Import pay-by-text enrolments",
        "section": "files",
        "form": form,
        "columns": imports.COLUMNS,
        "most": formats.number(MOST),
        "outcome": outcome,
        "words": _words(outcome) if outcome else "",
        "faults": outcome.faults[:_SHOWN] if outcome else [],
        "more": formats.number(len(outcome.faults) - _SHOWN) if outcome and len(outcome.faults) > _SHOWN else "",
    }
    wrong = form.is_bound and not (outcome and outcome.done)
    return render(request, "biller_portal/texts/import.html", context, status=422 if wrong else 200)


def _words(outcome: Outcome) -> str:
    new, same = formats.number(outcome.new), formats.number(outcome.same)
    if outcome.done:
        return f"{new} enrolled, {same} were enrolled with this number already"
    return f"{new} would be enrolled, {same} are enrolled with this number already. Nothing was changed"
