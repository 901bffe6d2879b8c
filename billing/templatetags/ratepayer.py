"""Template tags and filters of the shared look: ``{% load ratepayer %}``."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django import template
from django.forms import BaseForm
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing import branding, formats, lists, statuses
from billing.models import Biller

register = template.Library()


@register.simple_tag
def money(amount: Decimal | None, currency: str) -> SafeString:
    """Write an amount: ``{% money payment.amount payment.currency %}``."""
    if amount is None:
        return lists.NOTHING
    return format_html('<span class="money">{}</span>', formats.money(amount, currency))


@register.simple_tag
def balance(amount: Decimal | None, currency: str) -> SafeString:
    """Write what is owed, or the credit: ``{% balance customer.balance biller.currency %}``."""
    if amount is None:
        return lists.NOTHING
    return format_html('<span class="money">{}</span>', formats.balance(amount, currency))


@register.simple_tag
def when(value: datetime | None) -> SafeString:
    """Write a moment with its zone: ``{% when payment.created_at %}``."""
    return lists.NOTHING if value is None else lists.time_html(value)


@register.simple_tag
def exact(value: datetime | None) -> SafeString:
    """Write a moment to the millisecond: ``{% exact delivery.at %}``."""
    if value is None:
        return lists.NOTHING
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), formats.exact(value))


@register.simple_tag
def day(value: date | datetime | None) -> SafeString:
    """Write a date: ``{% day invoice.due_on %}``."""
    return lists.NOTHING if value is None else lists.day_html(value)


@register.simple_tag
def since(value: datetime | None) -> SafeString:
    """Write how long ago something was, with the moment behind it: ``{% since endpoint.last_success %}``."""
    if value is None:
        return lists.NOTHING
    seconds = (timezone.now() - value).total_seconds()
    words = _("%(length)s ago") % {"length": formats.ago(seconds)}
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), formats.moment(value), words)


@register.simple_tag
def status(noun: str, value: str, detail: object = None) -> SafeString:
    """Draw a status tag: ``{% status "payment" payment.state %}``."""
    return lists.status_html(statuses.status(noun, value, detail))


@register.filter
def number(value: int | Decimal) -> str:
    """Write a count with its thousands: ``{{ total|number }}``."""
    return formats.number(value)


@register.filter
def phone(value: str) -> str:
    """Write a telephone number as people do: ``{{ customer.phone|phone }}``."""
    return formats.phone(value)


@register.filter
def masked_phone(value: str) -> str:
    """Write a telephone number with only its last four figures."""
    return formats.masked_phone(value)


@register.filter
def masked(value: str) -> str:
    """Write a card or account number with only its last four figures."""
    return formats.masked(value)


@register.filter
def percent_of(part: float, whole: float) -> int:
    """Give the share of a whole in percent, 0 to 100, for a progress bar: ``{{ done|percent_of:total }}``."""
    return 100 if not whole else max(0, min(100, int(100 * part / whole)))


@register.filter
def accent(biller: Biller | None) -> str:
    """Give the figures of the biller's accent colour for its stylesheet's address."""
    return branding.accent_of(biller)


@register.filter
def initial(text: object) -> str:
    """Give the first letter, for the mark of a biller without a logo."""
    return str(text).strip()[:1].upper() or "?"


@register.simple_tag(takes_context=True)
def error_prefix(context: Context) -> str:
    """Begin the page's title with "Error:" where its form (``form``, or any of ``forms``) has errors."""
    found: list[Any] = [context.get("form"), *(context.get("forms") or [])]
    wrong = any(isinstance(form, BaseForm) and form.is_bound and form.errors for form in found)
    return _("Error:") + " " if wrong else ""


@register.simple_tag
def field_errors(form: BaseForm) -> list[tuple[str, str]]:
    """Give a form's errors for its summary: (id of the control or nothing, the words), in the order of the fields."""
    errors = [("", str(error)) for error in form.non_field_errors()]
    for field in form:
        anchor = getattr(field, "anchor", field.id_for_label)
        wordings = getattr(field, "wordings", None) or [str(error) for error in field.errors]
        errors += [("" if field.is_hidden else anchor, words) for words in wordings]
    return errors
