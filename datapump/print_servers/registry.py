"""Which print servers there are: an invoice names the kind by its format GUID (MSP-24)."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from datapump.print_servers.base import PrintServer
from datapump.print_servers.daffron import Daffron

DAFFRON = UUID("BA1CEC36-997C-48E3-8406-437640EDFF84")
PRINT_SERVERS: Mapping[UUID, PrintServer] = {DAFFRON: Daffron()}
