"""What every tenant-owned model shares: its biller, and querysets that show a user only what is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from django.db import models

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from billing.models.users import User

Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)


class TenantQuerySet(models.QuerySet[Row_co]):
    """Rows of billers; ``path_to_customer`` is set where a payer may see rows of the customers they are linked to."""

    path_to_customer: str | None = None

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Narrow to what the user may see: their billers' rows as staff, their linked customers' rows as payer."""
        if not user.is_authenticated:
            return self.none()
        if user.is_superuser:
            return self
        seen = models.Q(biller_id__in=user.staff_biller_ids)
        if self.path_to_customer is not None:
            seen |= models.Q(**{f"{self.path_to_customer}__in": user.linked_customer_ids})
        return self.filter(seen)


class CustomerOwnedQuerySet(TenantQuerySet[Row_co]):
    """Rows that belong to one customer, which its payers may see too."""

    path_to_customer = "customer_id"
