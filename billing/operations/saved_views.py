"""Saved views: a list page's filters under a name, for one person."""

from __future__ import annotations

from django.db import transaction

from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, SavedView, User

MOST = 30


class BadView(DomainError):
    """The view has no name, no filters, or is one too many."""

    default = "This view cannot be saved."


class NoSuchView(DomainError):
    """There is no view of that name."""

    default = "There is no saved view of that name."


@transaction.atomic(durable=True)
def save_view(*, actor: Actor, user: User, biller: Biller, page: str, name: str, query: str) -> SavedView:
    """Keep the filters in ``query`` under a name; the same name again replaces them.

    A person's own convenience, of which the audit trail knows nothing.

    :raises BadView: the name is empty or over 60 characters, nothing is filtered, or the person has 30 of this page.
    """
    if actor.user_id != user.pk:
        raise BadView("Views are saved by the person whose they are.")
    if not name or len(name) > 60:
        raise BadView("Enter a name of at most 60 characters for the view.", field="name")
    if not query or len(query) > 1000:
        raise BadView("Filter the list first; then its filters can be saved.")
    mine = SavedView.objects.filter(user=user, biller=biller, page=page)
    if mine.exclude(name=name).count() >= MOST:
        raise BadView(f"You have {MOST} views of this page. Remove one first.")
    view, _ = SavedView.objects.update_or_create(
        user=user, biller=biller, page=page, name=name, defaults={"query": query}
    )
    return view


@transaction.atomic(durable=True)
def remove_view(*, actor: Actor, user: User, biller: Biller, page: str, name: str) -> None:
    """Remove a saved view.

    :raises NoSuchView: the person has none of that name on this page.
    """
    if actor.user_id != user.pk:
        raise NoSuchView
    removed, _ = SavedView.objects.filter(user=user, biller=biller, page=page, name=name).delete()
    if not removed:
        raise NoSuchView
