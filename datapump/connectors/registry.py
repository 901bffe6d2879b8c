"""The connectors there are, by the name that an endpoint row keeps."""

from __future__ import annotations

from collections.abc import Mapping

from datapump.connectors.base import Connector
from datapump.connectors.multispeak.connector import MultiSpeak
from datapump.connectors.webhooks.connector import Webhooks

CONNECTORS: Mapping[str, Connector] = {
    MultiSpeak.name: MultiSpeak(),
    Webhooks.name: Webhooks(),
}


def connector_named(name: str) -> Connector:
    """Return the connector of this name.

    :raises LookupError: there is none; the text names those there are.
    """
    try:
        return CONNECTORS[name]
    except KeyError:
        raise LookupError(f"no connector is called {name!r}; there are: {', '.join(sorted(CONNECTORS))}") from None
