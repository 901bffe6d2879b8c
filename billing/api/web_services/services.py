"""Which web services there are: their operations, the fields of each, and what each does."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from billing import wakes
from billing.api.authentication import Machine
from billing.api.customers import CustomerRecordRequest, update_record
from billing.api.views import Shape
from billing.models import Scope
from billing.operations import invoice_files
from billing.tasks import load_invoice_file

# Most that a message may have, in bytes; a larger invoice file goes over REST or the drop folder.
LARGEST = 10_000_000


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it travels, its name in the shape that reads it, and its type in XML Schema."""

    wire: str
    name: str
    type: str = "string"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it takes beside ``UserName`` and ``Password``, what it answers, and what it does.

    ``scope`` is what a key needs for it.
    """

    name: str
    words: str
    scope: Scope
    shape: type[Shape]
    takes: tuple[Field, ...]
    gives: tuple[Field, ...]
    act: Callable[[Machine, dict[str, Any]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Service:
    """A service at one address."""

    name: str
    words: str
    largest: int
    operations: tuple[Operation, ...]

    def operation(self, name: str) -> Operation | None:
        """Give an operation of the service; nothing where it has none of this name."""
        return next((one for one in self.operations if one.name == name), None)


class Base64(serializers.Field):  # type: ignore[type-arg]  # its stubs are generic, the class is not
    """A file's bytes in base64, with line breaks or without."""

    def to_internal_value(self, data: Any) -> bytes:
        """Read them.

        :raises ValidationError: it is no base64.
        """
        bare = data.translate({ord(one): None for one in "\r\n\t"})
        try:
            return base64.b64decode(bare, validate=True)
        except (binascii.Error, ValueError):
            raise ValidationError("This is not base64.", code="invalid") from None


class UploadRequest(Shape):
    """An invoice file in a message."""

    file_name = serializers.CharField(min_length=1, max_length=200)
    file = Base64()


def _update(machine: Machine, given: dict[str, Any]) -> dict[str, str]:
    updated = update_record(machine.biller, given, machine.actor)
    return {"Changed": ",".join(updated.changed), "PayByText": str(updated.pay_by_text)}


def _upload(machine: Machine, given: dict[str, Any]) -> dict[str, str]:
    file = invoice_files.receive(
        biller=machine.biller,
        name=given["file_name"],
        body=io.BytesIO(given["file"]),
        source="api",
        actor=machine.actor,
    )
    wakes.wake(load_invoice_file, file.pk)
    return {"FileID": str(file.pk), "SHA256": file.sha256}


CLOUD_MANAGEMENT = Service(
    "CloudManagement",
    "Changes customer records.",
    64 << 10,
    (
        Operation(
            "UpdateCustomerRecord",
            "Changes the record of a customer; a new phone number is taken over by pay by text.",
            Scope.ACCOUNTS,
            CustomerRecordRequest,
            (
                Field("AccountNumber", "account", required=True),
                Field("Sub", "sub"),
                Field("CustomerName", "name"),
                Field("Phone", "phone"),
                Field("Address1", "address1"),
                Field("Address2", "address2"),
                Field("City", "city"),
                Field("State", "state"),
                Field("Zip", "zip"),
            ),
            (Field("Changed", "changed"), Field("PayByText", "pay_by_text")),
            _update,
        ),
    ),
)
CLOUD_INVOICING = Service(
    "CloudInvoicing",
    "Takes invoice files.",
    LARGEST,
    (
        Operation(
            "UploadInvoiceFile",
            "Hands in an invoice file, which is loaded in the background.",
            Scope.FILES,
            UploadRequest,
            (Field("FileName", "file_name", required=True), Field("FileContents", "file", "base64Binary", True)),
            (Field("FileID", "id"), Field("SHA256", "sha256")),
            _upload,
        ),
    ),
)
SERVICES = {service.name: service for service in (CLOUD_MANAGEMENT, CLOUD_INVOICING)}
