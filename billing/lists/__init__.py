"""List pages: one base class for every table a person pages through, filters and takes away as CSV.

A page is a URL: filters, order, page size and place all live in the query string, so that it can be sent, saved and
gone back to, and works without JavaScript. Paging is by keyset, so a page far down costs what the first one costs and
rows do not slide between pages while others are added; the place travels in a signed cursor. Counts stop at a cap.

``docs/pages.md`` shows how a page is written with it.
"""

from billing.lists.columns import (
    NOTHING,
    Amount,
    Column,
    Day,
    Drawn,
    Link,
    Moment,
    Number,
    Tag,
    day_html,
    status_html,
    time_html,
)
from billing.lists.exports import csv_cell, csv_response
from billing.lists.filters import AnyOf, Chip, Filters, FromDay, ToDay, midnight
from billing.lists.keysets import BadCursor, Bound, Order, beyond, reverse_order
from billing.lists.pages import BadFilters, Listing, ListPage

__all__ = [
    "NOTHING",
    "Amount",
    "AnyOf",
    "BadCursor",
    "BadFilters",
    "Bound",
    "Chip",
    "Column",
    "Day",
    "Drawn",
    "Filters",
    "FromDay",
    "Link",
    "ListPage",
    "Listing",
    "Moment",
    "Number",
    "Order",
    "Tag",
    "ToDay",
    "beyond",
    "csv_cell",
    "csv_response",
    "day_html",
    "midnight",
    "reverse_order",
    "status_html",
    "time_html",
]
