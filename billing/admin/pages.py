"""What pages of the admin have in common: they stay fast at any size, and nobody changes anything unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, User

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

COUNTED = 5_000


def operator(request: HttpRequest) -> Actor:
    """Give the administrator who asks."""
    assert isinstance(request.user, User)
    return Actor.operator(request.user, request.META.get("REMOTE_ADDR"))


class CappedPaginator(_Paginator):
    """Counts rows up to a number after which nobody turns pages; a whole count of a large table takes minutes."""

    @cached_property
    def count(self) -> int:
        """Count them."""
        rows: Any = self.object_list  # always a queryset here
        return int(rows.order_by()[:COUNTED].count())


class Page(ModelAdmin):
    """Rows of every biller, found by the exact value of an indexed column."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    ordering: ClassVar[Any] = ("-pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Find rows that have exactly this value in one of the columns; a part of it would read the whole table."""
        text = search_term.strip()
        if not text or not self.search_fields:
            return queryset, False
        wanted = models.Q(pk__in=[])
        for name in self.search_fields:
            field: Any = self.model._meta.get_field(str(name))
            try:
                wanted |= models.Q(
                    **{str(name): field.target_field.to_python(text) if field.is_relation else field.to_python(text)}
                )
            except ValidationError:
                continue
        return (queryset.none() if "\x00" in text else queryset.filter(wanted)), False


class ReadOnly(Page):
    """Rows that only operations make and change."""

    actions: Any = None
    hidden: tuple[str, ...] = ()  # columns that nobody is shown
    sortable_by: ClassVar[Any] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse."""
        return False

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show every column but those that are hidden."""
        return [field.name for field in self.model._meta.fields if field.name not in self.hidden]


class Audited(Page):
    """Set-up that an administrator may change: who changed what stands in the audit trail, in the same transaction."""

    def save_model(self, request: HttpRequest, obj: Any, form: forms.ModelForm[Any], change: bool) -> None:
        """Keep the row, and that it was made or changed."""
        before = self.model._default_manager.filter(pk=obj.pk).first() if change else None
        super().save_model(request, obj, form, change)
        if before is None:
            self.record(request, obj, "configuration.added")
            return
        columns = {field.name for field in self.model._meta.fields}
        # A form takes a value for changed that is only written otherwise, as JSON may be.
        changed = [
            name for name in form.changed_data if name not in columns or getattr(before, name) != getattr(obj, name)
        ]
        if changed:
            self.record(request, obj, "configuration.changed", fields=", ".join(changed))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Remove the row, and keep that it was removed."""
        with transaction.atomic():
            self.record(request, obj, "configuration.removed")
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Remove each row as if it were the only one."""
        for row in queryset:
            self.delete_model(request, row)

    def record(self, request: HttpRequest, obj: Any, event: str, **facts: str) -> None:
        """Write the audit entry."""
        audit.record(
            actor=operator(request),
            event=event,
            biller_id=obj.pk if isinstance(obj, Biller) else getattr(obj, "biller_id", None),
            subject=f"{self.model._meta.model_name}:{obj.pk}",
            facts={"what": f"{self.model._meta.verbose_name} {obj}", **facts},
        )


class Operated(Page):
    """Rows whose form is given to operations, which have transactions of their own; a refusal is said on the page."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Draw the form, or hand it to an operation: not inside a transaction, as Django would."""
        answer: HttpResponse = self._unless_refused(
            request,
            lambda: self._changeform_view(request, object_id, form_url, extra_context),  # type: ignore[attr-defined]
        )
        return answer

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask, or hand it to an operation."""
        answer: HttpResponse = self._unless_refused(
            request,
            lambda: self._delete_view(request, object_id, extra_context),  # type: ignore[attr-defined]
        )
        return answer

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Remove each row by itself; what is refused stays."""
        each(request, queryset, lambda row: self.delete_model(request, row), "Removed")

    def _unless_refused(self, request: HttpRequest, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except DomainError as refused:
            messages.error(request, str(refused))
            return redirect(request.get_full_path())


def each(request: HttpRequest, rows: Iterable[Any], operation: Callable[[Any], object], done: str) -> None:
    """Do something to each row that was chosen, and say how it went."""
    count = 0
    for row in rows:
        try:
            operation(row)
        except DomainError as refused:
            messages.error(request, f"{row}: {refused}")
        else:
            count += 1
    if count:
        messages.success(request, f"{done}: {count}.")


def ask(
    page: Page, request: HttpRequest, rows: Any, *, action: str, question: str, form: forms.Form
) -> HttpResponseBase:
    """Draw the page on which an administrator says why, before an action is done to the rows."""
    context = {
        **page.admin_site.each_context(request),
        "title": question,
        "opts": page.opts,
        "rows": rows,
        "action": action,
        "form": form,
        "media": page.media,
    }
    return TemplateResponse(request, "admin/ask.html", context)
