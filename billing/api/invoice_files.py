"""Invoice files: handed in, watched while they load, their errors read line by line (MSP-34)."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from billing import wakes
from billing.api.views import ApiView, Money, PageQuery, PeriodQuery, Shape, in_period, page_of
from billing.models import FileState, InvoiceFile, InvoiceFileError, Scope
from billing.operations import invoice_files
from billing.tasks import load_invoice_file


class InvoiceFileQuery(PeriodQuery):
    """Which files; the period is of when they came in."""

    state = serializers.ChoiceField(choices=FileState.choices, required=False)


class InvoiceFileUpload(Shape):
    """A file to hand in."""

    file = serializers.FileField(
        help_text="The invoice file. Its name begins with the biller's number and the date: 2778_11222026.bif.",
        max_length=200,
        allow_empty_file=True,
    )


class Total(Money):
    """An amount of a whole file."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 16, **options})


class InvoiceFileShape(Shape):
    """An invoice file, how far it has come, and its control totals."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    sha256 = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    source = serializers.ChoiceField(choices=["portal", "api", "command", "drop"])  # type: ignore[assignment]  # no class keeps it
    state = serializers.ChoiceField(choices=FileState.choices)
    refusal = serializers.CharField(help_text="Why the whole file was refused; empty where it was not.")
    received_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    withdrawn_at = serializers.DateTimeField(allow_null=True)
    stated_count = serializers.IntegerField(allow_null=True, help_text="Invoices, as the file's header says.")
    stated_total = Total(allow_null=True)
    found_count = serializers.IntegerField(help_text="Invoices found in the file.")
    found_total = Total()
    loaded_count = serializers.IntegerField()
    loaded_total = Total()
    repeated_count = serializers.IntegerField(help_text="Invoices that were on file already.")
    error_count = serializers.IntegerField()
    left_out_count = serializers.IntegerField(help_text="Values left out while their invoices were loaded.")
    bytes_read = serializers.IntegerField(help_text="Progress while it is being read.")


class InvoiceFileErrorShape(Shape):
    """One fault in a file."""

    line = serializers.IntegerField()
    field = serializers.CharField()
    reason = serializers.CharField()
    value = serializers.CharField(help_text="As it stood, cut short.")
    left_out = serializers.BooleanField(help_text="True: only the value was left out, its invoice was loaded.")


class InvoiceFilesView(ApiView):
    """The invoice files of the biller."""

    scope = Scope.FILES

    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="invoice_files_list",
        parameters=[InvoiceFileQuery],
        responses=page_of(InvoiceFileShape),
        tags=["invoice files"],
    )
    def get(self, request: Request) -> Response:
        """Give invoice files, those received last first."""
        chosen = self.query(InvoiceFileQuery)
        rows = in_period(InvoiceFile.objects.filter(biller=self.biller), chosen, "received_at")
        if "state" in chosen:
            rows = rows.filter(state=chosen["state"])
        return self.page(rows, InvoiceFileShape, order=("-received_at", "-pk"), chosen=chosen)

    @extend_schema(
        operation_id="invoice_files_upload",
        request={"multipart/form-data": InvoiceFileUpload},
        responses={202: OpenApiResponse(InvoiceFileShape, description="Received; it is loaded in the background.")},
        tags=["invoice files"],
    )
    def post(self, request: Request) -> Response:
        """Hand in an invoice file; ask for it again to see what came of it.

        The same file twice is refused with 409, also under another name.
        """
        upload: UploadedFile[bytes] = self.body(InvoiceFileUpload, request)["file"]
        file = invoice_files.receive(
            biller=self.biller, name=upload.name or "", body=upload, source="api", actor=self.actor
        )
        wakes.wake(load_invoice_file, file.pk)
        file.refresh_from_db()
        where = reverse("api-invoice-file", args=[file.pk])
        return self.show(InvoiceFileShape, file, status=202, headers={"Location": where})


class InvoiceFileView(ApiView):
    """One invoice file."""

    @extend_schema(operation_id="invoice_files_read", responses=InvoiceFileShape, tags=["invoice files"])
    def get(self, request: Request, pk: int) -> Response:
        """Give an invoice file with its state and totals."""
        return self.show(InvoiceFileShape, self.find(InvoiceFile.objects.all(), pk=pk))


class InvoiceFileErrorsView(ApiView):
    """The faults of one invoice file."""

    @extend_schema(
        operation_id="invoice_files_errors",
        parameters=[PageQuery],
        responses=page_of(InvoiceFileErrorShape),
        tags=["invoice files"],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Give the file's errors in the order of its lines."""
        chosen = self.query(PageQuery)
        file = self.find(InvoiceFile.objects.all(), pk=pk)
        rows = InvoiceFileError.objects.filter(file=file)
        return self.page(rows, InvoiceFileErrorShape, order=("line", "pk"), chosen=chosen)
