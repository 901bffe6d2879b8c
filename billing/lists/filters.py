"""The filters of list pages, which live in the query string, and their chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.translation import gettext

from billing import formats


class FilterForm(forms.Form):
    """The form of a filter set; checks that each period ends after it starts."""

    periods: ClassVar[Sequence[tuple[str, str]]] = ()

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it starts."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for first, last in self.periods:
            start, end = cleaned.get(first), cleaned.get(last)
            if start and end and end < start:
                self.add_error(last, ValidationError(gettext("End date must be after start date")))
        return cleaned


class Filters(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    """The filters of one list page; ``periods`` names pairs of start and end dates."""

    periods: ClassVar[Sequence[tuple[str, str]]] = ()

    def get_form_class(self) -> type[forms.Form]:
        """Make the form, with the periods to check."""
        fields = {name: filter_.field for name, filter_ in self.filters.items()}
        return type("FilterForm", (FilterForm,), {**fields, "periods": self.periods})


class AnyOf(django_filters.MultipleChoiceFilter):  # type: ignore[misc]  # as above
    """Any of several choices, as tick boxes; one ``IN``, where the library's own makes ``DISTINCT`` and ``OR``."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.CheckboxSelectMultiple)
        super().__init__(distinct=False, **options)

    def filter(self, queryset: models.QuerySet[Any], value: list[str]) -> models.QuerySet[Any]:
        """Narrow to the chosen values."""
        return queryset.filter(**{f"{self.field_name}__in": value}) if value else queryset


class FromDay(django_filters.DateFilter):  # type: ignore[misc]  # as above
    """Moments on a day or later, by the calendar of the current time zone."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
        super().__init__(**options)

    def filter(self, queryset: models.QuerySet[Any], value: date | None) -> models.QuerySet[Any]:
        """Narrow to moments from the day's first."""
        return queryset.filter(**{f"{self.field_name}__gte": midnight(value)}) if value else queryset


class ToDay(FromDay):
    """Moments on a day or earlier, by the calendar of the current time zone."""

    def filter(self, queryset: models.QuerySet[Any], value: date | None) -> models.QuerySet[Any]:
        """Narrow to moments before the next day's first."""
        return queryset.filter(**{f"{self.field_name}__lt": midnight(value + timedelta(days=1))}) if value else queryset


def midnight(value: date) -> datetime:
    """Give the first moment of a day in the current time zone."""
    return datetime.combine(value, time.min, tzinfo=timezone.get_current_timezone())


@dataclass(frozen=True, slots=True)
class Chip:
    """An applied filter and the address of the list without it."""

    label: str
    value: str
    url: str


def chips(request: HttpRequest, form: forms.Form | None, ours: frozenset[str]) -> list[Chip]:
    """Give a chip for every applied filter; its address leaves out the filter and the names in ``ours``."""
    if form is None or not hasattr(form, "cleaned_data"):
        return []
    found = []
    for name, field in form.fields.items():
        value = form.cleaned_data.get(name)
        if value in (None, "", []):
            continue
        label = str(form[name].label)
        if isinstance(field, forms.MultipleChoiceField):
            words = {str(key): str(text) for key, text in _flat(field.choices)}
            for one in value:
                rest = [item for item in request.GET.getlist(name) if item != str(one)]
                found.append(Chip(label, words.get(str(one), str(one)), _without(request, ours, name, rest)))
        else:
            found.append(Chip(label, _chip_words(field, value), _without(request, ours, name, [])))
    return found


def address(request: HttpRequest, query: QueryDict) -> str:
    """Give this page's address with another query string."""
    encoded = query.urlencode()
    return f"{request.path}?{encoded}" if encoded else request.path


def _without(request: HttpRequest, ours: frozenset[str], name: str, rest: list[str]) -> str:
    query = request.GET.copy()
    for gone in ours:
        query.pop(gone, None)
    query.setlist(name, rest)
    if not rest:
        del query[name]
    return address(request, query)


def _flat(choices: Any) -> Iterator[tuple[object, object]]:
    for key, text in choices:
        if isinstance(text, list | tuple):
            yield from _flat(text)
        else:
            yield key, text


def _chip_words(field: forms.Field, value: object) -> str:
    if isinstance(value, bool):
        return formats.yes_or_no(value)
    if isinstance(value, date):
        return formats.day(value)
    if isinstance(field, forms.ChoiceField):
        return next((str(text) for key, text in _flat(field.choices) if str(key) == str(value)), str(value))
    return str(value)
