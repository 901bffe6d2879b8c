"""A file of credits and debits handed in by a person: booked whole, or refused line by line."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.errors import DomainError
from billing.operations import adjustment_files
from billing.operations.adjustments import AdjustmentsRefused, Fault
from billing.permissions import Permission

MOST = 20_000
"""Lines that a person waits for; the drop folder and an operator's command take more."""

_SHOWN = 200


class AdjustmentFileForm(forms.Form):
    """A file of adjustments."""

    file = forms.FileField(
        label="File of adjustments",
        max_length=200,
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,text/csv"}),
        error_messages={"required": "Choose the file first", "empty": "This file is empty."},
        help_text="CSV in UTF-8. Its first line names the columns.",
    )


@biller_page(Permission.LOAD_FILE)
def upload(request: BillerRequest) -> HttpResponse:
    """Draw the form; a POST books the file's adjustments, or says line by line what is wrong."""
    sent = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    form = AdjustmentFileForm(*sent)
    faults: list[Fault] = []
    if form.is_bound and form.is_valid():
        given: UploadedFile[bytes] = form.cleaned_data["file"]
        try:
            adjusted = adjustment_files.import_file(
                biller=request.biller, body=given.read(adjustment_files.LARGEST + 1), name=given.name or "",
                actor=request.actor, now=timezone.now(), most=MOST,
            )  # fmt: skip
        except AdjustmentsRefused as refused:
            faults = refused.faults
        except DomainError as refused:
            form.add_error("file", str(refused))
        else:
            total = formats.balance(adjusted.total, request.biller.currency)
            booked, same = formats.number(adjusted.new), formats.number(len(adjusted.ids) - adjusted.new)
            messages.success(request, f"{given.name}: {booked} booked, {total} in all; {same} were on file already.")
            return redirect("biller-adjustment-file")
    context: dict[str, Any] = {
        "title": "Hand in adjustments",
        "section": "files",
        "form": form,
        "columns": adjustment_files.COLUMNS,
        "most": formats.number(MOST),
        "faults": faults[:_SHOWN],
        "more": formats.number(len(faults) - _SHOWN) if len(faults) > _SHOWN else "",
    }
    return render(request, "biller_portal/files/adjustments.html", context, status=422 if form.is_bound else 200)
