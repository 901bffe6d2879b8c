"""Texts of a biller: every one in a list, one with what became of it, and those that wait to be read by somebody."""

from __future__ import annotations

import uuid
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from billing import formats, lists, phone_numbers, statuses
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import account_url
from billing.biller_portal.settings import answer_refusal
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import Customer
from billing.permissions import Permission
from sms import reports
from sms.models import Direction, ProgrammeKind, Text, TextState
from sms.operations import reviews


def text_url(text: Text) -> str:
    """Give the address of a text's own page."""
    return reverse("biller-text", args=[text.pk])


class TextFilters(lists.Filters):
    """The filters of the list of texts."""

    q = django_filters.CharFilter(label="Phone or account number", method="searched")
    direction = django_filters.ChoiceFilter(label="Direction", choices=Direction.choices, empty_label="Both")
    state = lists.AnyOf(label="Status", choices=statuses.choices("text"))
    kind = django_filters.ChoiceFilter(label="About", choices=reports.kinds(), method="of_kind", empty_label="Anything")
    start = lists.FromDay(label="From", field_name="created_at")
    end = lists.ToDay(label="To", field_name="created_at")
    periods = (("start", "end"),)

    def searched(self, rows: QuerySet[Text], name: str, value: str) -> QuerySet[Text]:
        """Narrow to one account by its number, else to one phone, each whole."""
        value = value.strip()
        mine = Customer.objects.filter(biller=self.request.biller)
        account = mine.filter(number=value).first() or mine.filter(display_number=value).first()
        if account is not None:
            return rows.filter(customer=account)
        number = phone_numbers.read(value)
        return rows.filter(phone=number) if number else rows.none()

    def of_kind(self, rows: QuerySet[Text], name: str, value: str) -> QuerySet[Text]:
        """Narrow to one kind of text, of ours or from phones."""
        _to, ours, kind = value.rpartition("to:")
        return rows.filter(direction=Direction.OUT if ours else Direction.IN, kind=kind)


_WHEN: lists.Column[Text] = lists.Moment("when", "When", "created_at")
_PHONE: lists.Column[Text] = lists.Link(
    "phone", "Phone", lambda one: formats.masked_phone(one.phone), url=text_url, nowrap=True
)
_ACCOUNT: lists.Column[Text] = lists.Link(
    "account",
    "Account",
    "customer.shown_number",
    url=lambda one: account_url(one.customer_id) if one.customer_id else None,
    nowrap=True,
)
_BODY: lists.Column[Text] = lists.Column("text", "Text", "body")


class TextList(StaffPage, lists.ListPage[Text]):
    """Every text of the biller."""

    name, title, section = "texts", "Texts", "texts"
    template_name = "biller_portal/texts/list.html"
    filters = TextFilters
    orders = (
        lists.Order("newest", "Newest first", ("-created_at", "-id")),
        lists.Order("oldest", "Oldest first", ("created_at", "id")),
    )
    columns = (
        _WHEN,
        lists.Column("direction", "Direction", "get_direction_display", nowrap=True),
        _PHONE,
        _ACCOUNT,
        lists.Column("about", "About", reports.kind_words),
        _BODY,
        lists.Tag("status", "Status", "state", noun="text", detail=reports.shown_detail),
        lists.Column("trouble", "Trouble", reports.trouble),
        lists.Number("parts", "Parts", "segments"),
        lists.Moment("sent", "Sent", "sent_at", shown=False),
        lists.Column("rule", "Rule", "rule", shown=False),
        lists.Column("id", "Text id", "id", shown=False),
    )
    empty_heading = "No texts yet"
    empty_text = "What goes to phones and comes from them appears here."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's texts."""
        mine = Text.objects.visible_to(request.user).filter(biller=self.request.biller)
        return mine.select_related("customer")

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Say how many wait to be read."""
        return {"to_read": reports.to_review(self.request.biller).order_by()[:1_000].count()}


class ReviewFilters(lists.Filters):
    """The filters of the texts that wait to be read."""

    reason = lists.AnyOf(label="Why", choices=list(reports.REVIEWS.items()), field_name="review")
    start = lists.FromDay(label="From", field_name="created_at")
    end = lists.ToDay(label="To", field_name="created_at")
    periods = (("start", "end"),)


class ReviewList(StaffPage, lists.ListPage[Text]):
    """The texts from phones that nobody understood surely and nobody has read."""

    name, title, section = "text-reviews", "Texts to read", "texts"
    template_name = "biller_portal/texts/reviews.html"
    filters = ReviewFilters
    # The index of what waits ends in the id, which is made in the order of time.
    orders = (lists.Order("oldest", "Oldest first", ("id",)), lists.Order("newest", "Newest first", ("-id",)))
    columns = (
        lists.Link("why", "Why", reports.review_words, url=text_url),
        lists.Moment("when", "When", "created_at"),
        lists.Column("phone", "Phone", lambda one: formats.masked_phone(one.phone), nowrap=True),
        _ACCOUNT,
        _BODY,
        lists.Column("about", "Taken for", reports.kind_words),
    )
    empty_heading = "Nothing to read"
    empty_text = "Every text from a phone was understood, or somebody has read it."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give what waits."""
        return reports.to_review(self.request.biller).visible_to(request.user).select_related("customer")


class ReviewForm(forms.Form):
    """What was done about a text."""

    opt_out = forms.ChoiceField(
        label="Does it ask us to stop?",
        choices=[("no", "No, or it is stopped already"), ("yes", "Yes: send this phone nothing more")],
        widget=forms.RadioSelect,
    )
    note = WordsField(
        label="What you did",
        max_length=reviews.NOTE_LONGEST,
        help_text="For example: called the customer, who meant the bill of November.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


@biller_page(Permission.VIEW)
def text(request: BillerRequest, text_id: uuid.UUID) -> HttpResponse:
    """Draw one text, what became of it, and the conversation around it."""
    found = _text_or_404(request, text_id)
    return render(request, "biller_portal/texts/text.html", _context(request, found, form=ReviewForm()))


@biller_page(Permission.CHANGE_ENROLMENT)
def close(request: BillerRequest, text_id: uuid.UUID) -> HttpResponse:
    """Take a text out of the queue as the form says."""
    found = _text_or_404(request, text_id)
    if request.method != "POST":
        return redirect("biller-text", found.pk)
    form = ReviewForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            reviews.close(text=found, note=given["note"], opt_out=given["opt_out"] == "yes", actor=request.actor)
        except reviews.NothingToReview as refused:
            messages.error(request, str(refused))
            return redirect("biller-text", found.pk)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "The text is out of the queue.")
            return redirect("biller-text-reviews")
    return render(request, "biller_portal/texts/text.html", _context(request, found, form=form), status=422)


def _text_or_404(request: BillerRequest, pk: uuid.UUID) -> Text:
    mine = Text.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(mine.select_related("customer", "line", "biller"), pk=pk)


def _context(request: BillerRequest, found: Text, **more: Any) -> dict[str, Any]:
    inbound = found.direction == Direction.IN
    phone = reports.phone_of(found.biller, found.phone)
    waits = found.state == TextState.WAITING
    facts: list[tuple[str, object]] = [
        ("Phone", formats.phone(found.phone)),
        ("Our number", formats.phone(found.line.number)),
        ("Arrived" if inbound else "Written", formats.moment(found.created_at)),
        ("Goes out" if waits else "", formats.moment(found.due_at) if waits else ""),
        ("Sent", formats.moment(found.sent_at) if found.sent_at else ""),
        ("Taken for" if inbound else "About", reports.kind_words(found)),
        ("Because of", reports.rule_words(found)),
        ("Pictures", formats.number(found.media) if found.media else ""),
        ("At the provider", reports.provider_words(found)),
        ("The provider’s code", found.code),
        ("The provider’s id", found.provider_id),
        ("Tries", "" if inbound else formats.number(found.attempts)),
        ("Parts", formats.number(found.segments) if found.segments else ""),
        ("Text id", str(found.pk)),
    ]
    waiting = bool(found.review) and found.reviewed_at is None
    return {
        "title": "Text from a phone" if inbound else "Text to a phone",
        "section": "texts",
        "text": found,
        "bubble": reports.bubbles([found])[0],
        "bubbles": reports.bubbles(reports.around(found)),
        "facts": [(label, value) for label, value in facts if label and value],
        "opted_out": phone if phone and phone.refuses(ProgrammeKind.PAY_BY_TEXT) else None,
        "suspended_for": phone.suspended_for if phone else "",
        "accounts": [one.customer for one in reports.served_by(found.biller, found.phone)],
        "why": reports.review_words(found),
        "advice": reports.advice(found),
        "waiting": waiting,
        "may_close": waiting and request.may(Permission.CHANGE_ENROLMENT),
        **more,
    }
