"""Invoice files: the list, handing one in, the page that shows it loading, its errors, taking it back."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.html import format_html

from billing import formats, lists, statuses, wakes
from billing.biller_portal import adjustments
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.errors import DomainError
from billing.models import Biller, FileState, InvoiceFile, InvoiceFileError
from billing.operations import invoice_files
from billing.permissions import Permission
from billing.tasks import load_invoice_file, withdraw_invoice_file
from payments.operations import carryovers

# A larger file is taken back by a worker: nobody waits for a page that long.
_WITHDRAWN_AT_ONCE = 20_000
_KINDS_SHOWN = 50


class FileFilters(lists.Filters):
    """The filters of the list of files."""

    q = django_filters.CharFilter(label="File name", field_name="name", lookup_expr="icontains", max_length=200)
    state = lists.AnyOf(label="Status", choices=statuses.choices("file"))
    source = lists.AnyOf(label="Came by", choices=InvoiceFile._meta.get_field("source").choices)
    start = lists.FromDay(label="From", field_name="received_at")
    end = lists.ToDay(label="To", field_name="received_at")
    periods = (("start", "end"),)


class FileList(StaffPage, lists.ListPage[InvoiceFile]):
    """Every invoice file of the biller."""

    name, title, section = "invoice-files", "Invoice files", "files"
    template_name = "biller_portal/files/list.html"
    filters = FileFilters
    orders = (lists.Order("newest", "Newest first", ("-received_at", "-id")),)
    columns = (
        lists.Link("file", "File", "name", url=lambda one: reverse("biller-file", args=[one.pk])),
        lists.Moment("received", "Received", "received_at"),
        lists.Tag("status", "Status", "state", noun="file"),
        lists.Number("invoices", "Invoices", "found_count"),
        lists.Number("loaded", "Loaded", "loaded_count"),
        lists.Amount("amount", "Amount loaded", "loaded_total", currency="biller.currency"),
        lists.Number("errors", "Errors", "error_count"),
        lists.Column("came_by", "Came by", "get_source_display"),
        lists.Column("from", "From", "received_from"),
        lists.Column("refusal", "Why it was refused", "refusal", shown=False),
    )
    empty_heading = "No invoice files yet"
    empty_text = "Files come from the billing system by drop folder or API, or are handed in here."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's files."""
        return _files(self.request).select_related("biller")

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Say whether the person may hand one in."""
        return {"may_load": self.request.may(Permission.LOAD_FILE)}


class UploadForm(forms.Form):
    """A file to hand in."""

    file = forms.FileField(
        label="Invoice file",
        max_length=200,
        allow_empty_file=True,
        widget=forms.ClearableFileInput(attrs={"accept": ".bif,.txt"}),
        error_messages={"required": "Choose the file first"},
    )

    def __init__(self, *args: Any, biller: Biller, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].help_text = (
            f"Choose it, or drag it here. Its name begins with {biller.number}, your number, and the date: "
            f"{biller.number}_11222026.bif."
        )


@biller_page(Permission.LOAD_FILE)
def upload(request: BillerRequest) -> HttpResponse:
    """Draw the form; a POST receives the file, wakes a worker and leads to the file's page."""
    sent = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    form = UploadForm(*sent, biller=request.biller)
    if form.is_bound and form.is_valid():
        given: UploadedFile[bytes] = form.cleaned_data["file"]
        try:
            file = invoice_files.receive(
                biller=request.biller, name=given.name or "", body=given, source="portal", actor=request.actor
            )
        except invoice_files.AlreadyReceived as there:
            messages.warning(request, str(there))
            return redirect("biller-file", there.file.pk)
        except DomainError as refused:
            form.add_error("file", str(refused))
        else:
            wakes.wake(load_invoice_file, file.pk)
            messages.success(request, "The file was received. You may leave this page: it is loaded by itself.")
            return redirect("biller-file", file.pk)
    context = {"title": "Hand in an invoice file", "section": "files", "form": form, "biller": request.biller}
    return render(request, "biller_portal/files/upload.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.VIEW)
def detail(request: BillerRequest, file_id: int) -> HttpResponse:
    """Draw a file: how far it is, its control totals beside what was found, what is wrong with it, what came of it."""
    file = _file_or_404(request, file_id)
    currency = request.biller.currency
    live = file.state in invoice_files.LIVE
    kinds = (
        InvoiceFileError.objects.filter(file=file)
        .values("field", "reason", "left_out")
        .annotate(count=Count("pk"), first=Min("line"))
        .order_by("left_out", "-count", "field")[:_KINDS_SHOWN]
    )
    context = {
        "title": file.name,
        "section": "files",
        "file": file,
        "live": live,
        "currency": currency,
        "facts": _facts(file),
        "progress": _progress(file) if live else None,
        "totals": _totals(file, currency),
        "stats": _stats(file, currency) if file.state in {FileState.LOADED, FileState.WITHDRAWN} else None,
        "kinds": [] if live else list(kinds),
        "may_withdraw": file.state == FileState.LOADED and request.may(Permission.LOAD_FILE),
        "bills_url": f"{reverse('biller-bills')}?file={file.pk}",
        "here": reverse("biller-file", args=[file.pk]),
    }
    return render(request, "biller_portal/files/file.html", context)


class ErrorFilters(lists.Filters):
    """The filters of a file's errors."""

    q = django_filters.CharFilter(label="Field, reason or value", method="search", max_length=80)
    kind = django_filters.BooleanFilter(
        label="What it did",
        field_name="left_out",
        widget=forms.Select(
            choices=[("", "Any"), ("false", "Kept its invoice out"), ("true", "Only the value was left out")]
        ),
    )

    def search(self, queryset: Any, _name: str, text: str) -> Any:
        """Look in everything that an error says."""
        return queryset.filter(Q(field__icontains=text) | Q(reason__icontains=text) | Q(value__icontains=text))


class ErrorList(StaffPage, lists.ListPage[InvoiceFileError]):
    """The errors of one file, by line; as CSV the report that goes back to whoever made it."""

    name, title, section = "invoice-file-errors", "Errors", "files"
    template_name = "biller_portal/files/errors.html"
    filters = ErrorFilters
    orders = (lists.Order("line", "By line", ("line", "id")),)
    columns = (
        lists.Number("line", "Line", "line"),
        lists.Column("field", "Field", "field"),
        lists.Column("reason", "What is wrong", "reason"),
        lists.Column("value", "Value", "value"),
        lists.Column("effect", "What it did", lambda one: "Value left out" if one.left_out else "Kept its invoice out"),
    )
    empty_heading = "No errors"
    empty_text = "Nothing was wrong with this file."
    file: InvoiceFile

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the file's errors."""
        self.file = _file_or_404(self.request, self.kwargs["file_id"])
        return InvoiceFileError.objects.filter(file=self.file)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Name the file."""
        return {"file": self.file, "title": f"Errors in {self.file.name}"}


@biller_page(Permission.LOAD_FILE)
def withdraw(request: BillerRequest, file_id: int) -> HttpResponse:
    """Ask, then take a loaded file back."""
    file = _file_or_404(request, file_id)
    if request.method == "POST":
        if file.loaded_count > _WITHDRAWN_AT_ONCE and file.state == FileState.LOADED:
            # Nothing remembers the wish until a worker has it: what was not handed over must be asked for again.
            if wakes.wake(withdraw_invoice_file, file.pk, dataclasses.asdict(request.actor)):
                messages.success(
                    request,
                    "The file is being withdrawn, which takes some minutes. Where it cannot be, the audit trail says why.",
                )
            else:
                messages.error(
                    request,
                    "The file was not withdrawn: no worker can be reached at the moment. Nothing was changed. "
                    "Try again in a few minutes.",
                )
            return redirect("biller-file", file.pk)
        try:
            invoice_files.withdraw(file=file, actor=request.actor, put_back=carryovers.put_back)
            messages.success(request, "The file is withdrawn. Its bills are gone from accounts and portals.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("biller-file", file.pk)
    context = {
        "title": f"Withdraw {file.name}?",
        "section": "files",
        "question": "All bills of this file are taken back, and what they carried is open again on the older bills.",
        "facts": [
            ("Bills", formats.number(file.loaded_count)),
            ("Amount", formats.money(file.loaded_total, request.biller.currency)),
            ("Payers", "The bills vanish from their pages. E-mails that were not sent yet are not sent."),
            ("Accounts", "Names and addresses stay as the file had them."),
            ("Afterwards", "The bills can be loaded again from a corrected file."),
        ],
        "button": "Withdraw the file",
        "danger": True,
        "back_url": reverse("biller-file", args=[file.pk]),
    }
    return render(request, "biller_portal/confirm.html", context)


def _files(request: BillerRequest) -> Any:
    return InvoiceFile.objects.visible_to(request.user).filter(biller=request.biller)


def _file_or_404(request: BillerRequest, file_id: int) -> InvoiceFile:
    file: InvoiceFile = get_object_or_404(_files(request).select_related("biller"), pk=file_id)
    return file


def _facts(file: InvoiceFile) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("Came by", file.get_source_display()),
        ("From", file.received_from),
        ("Received", formats.moment(file.received_at)),
        ("Size", f"{formats.number(file.size)} bytes"),
        ("Made by the billing system", formats.moment(file.made_on) if file.made_on else ""),
        ("Finished", formats.moment(file.finished_at) if file.finished_at else ""),
        ("Withdrawn", formats.moment(file.withdrawn_at) if file.withdrawn_at else ""),
        ("SHA-256", format_html('<span class="text-break">{}</span>', file.sha256)),
    ]
    return [(label, value) for label, value in facts if value]


def _progress(file: InvoiceFile) -> dict[str, Any]:
    found = formats.number(file.found_count)
    match file.state:
        case FileState.READING:
            done = 40 * file.bytes_read // max(file.size, 1)
            words = f"{formats.number(file.bytes_read)} of {formats.number(file.size)} bytes"
        case FileState.CHECKING:
            done, words = 45, f"{found} invoices"
        case FileState.LOADING:
            done = 50 + 50 * file.loaded_count // max(file.found_count, 1)
            words = f"{formats.number(file.loaded_count)} of {found} invoices"
        case _:
            done, words = 0, "Waits for a worker"
    label = statuses.status("file", file.state).text
    return {"label": label, "done": done, "total": 100, "words": words, "live": False}


def _totals(file: InvoiceFile, currency: str) -> list[dict[str, object]]:
    """Compare the file header's control totals with what was found; nothing until both are known."""

    def row(label: str, stated: Decimal | int, found: Decimal | int, written: Any) -> dict[str, object]:
        return {"label": label, "stated": written(stated), "found": written(found), "equal": stated == found}

    if file.stated_count is None or file.stated_total is None:
        return []
    if file.state in {FileState.RECEIVED, FileState.READING, FileState.CHECKING}:
        return []
    return [
        row("Invoices", file.stated_count, file.found_count, formats.number),
        row("Total amount", file.stated_total, file.found_total, lambda one: formats.money(one, currency)),
    ]


def _stats(file: InvoiceFile, currency: str) -> list[dict[str, object]]:
    loaded: dict[str, object] = {
        "label": "Loaded",
        "value": formats.number(file.loaded_count),
        "note": formats.money(file.loaded_total, currency),
        "tone": "good" if file.state == FileState.LOADED and file.loaded_count else "",
    }
    others: list[dict[str, object]] = [
        {"label": "On file already", "value": formats.number(file.repeated_count)},
        {"label": "Carried from older bills", "value": formats.money(file.carried_total, currency)},
        {
            "label": "Errors",
            "value": formats.number(file.error_count),
            "tone": "bad" if file.error_count else "",
            "url": reverse("biller-file-errors", args=[file.pk]) if file.error_count else "",
        },
        {"label": "Values left out", "value": formats.number(file.left_out_count)},
    ]
    return [loaded, *others]


files_urlpatterns = [
    path("files/", FileList.as_view(), name="biller-files"),
    path("files/upload/", upload, name="biller-file-upload"),
    path("files/adjustments/", adjustments.upload, name="biller-adjustment-file"),
    path("files/<int:file_id>/", detail, name="biller-file"),
    path("files/<int:file_id>/errors/", ErrorList.as_view(), name="biller-file-errors"),
    path("files/<int:file_id>/withdraw/", withdraw, name="biller-file-withdraw"),
]
