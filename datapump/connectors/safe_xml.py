"""The one door through which XML from outside comes in."""

from __future__ import annotations

import re

from lxml import etree

from datapump.connectors.base import MAX_ANSWER

_DECLARED_ENCODING = re.compile(rb"""^<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Each keeps ASCII bytes as they are, so that a DOCTYPE can be seen in the bytes before any parser sees it.
_ENCODINGS = frozenset(
    {
        "utf-8",
        "utf8",
        "us-ascii",
        "ascii",
        "iso-8859-1",
        "latin1",
        "latin-1",
        "windows-1252",
    }
)
_DOCTYPE = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class UnsafeXml(ValueError):
    """The bytes are not XML that may be read; the text says why and quotes nothing of them."""


def parse(body: bytes, *, limit: int = MAX_ANSWER) -> etree._Element:
    """Parse a document of at most ``limit`` bytes into its root element, without comments and processing instructions.

    Refused are: more bytes than the limit, a DOCTYPE or entity declaration anywhere (also inside text), encodings that
    do not keep ASCII bytes (UTF-16, UTF-7, EBCDIC), nesting and text beyond libxml2's own limits, and whatever is not
    well-formed. Nothing is ever fetched, included or expanded.

    :raises UnsafeXml: with the reason.
    """
    if len(body) > limit:
        raise UnsafeXml(f"it is longer than {limit} bytes")
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if not text:
        raise UnsafeXml("it is empty")
    if not text.startswith(b"<"):
        raise UnsafeXml("it does not begin with a tag")
    if b"\x00" in text:
        raise UnsafeXml("it holds zero bytes")
    declared = _DECLARED_ENCODING.match(text)
    if declared is not None and declared[1].decode("ascii").lower() not in _ENCODINGS:
        raise UnsafeXml("its encoding is not one that is read here")
    if _DOCTYPE.search(text):
        raise UnsafeXml("it holds a DOCTYPE or entity declaration")
    parser = etree.XMLParser(
        # Without a declaration XML is UTF-8; saying so keeps libxml2 from guessing anything else.
        encoding=None if declared is not None else "utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise UnsafeXml(f"it is not well-formed XML (line {error.lineno or 1})") from None
    except ValueError:
        raise UnsafeXml("it is not well-formed XML") from None
    if root.getroottree().docinfo.internalDTD is not None:  # the second of two locks
        raise UnsafeXml("it holds a DOCTYPE or entity declaration")
    return root
