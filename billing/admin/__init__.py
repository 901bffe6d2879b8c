"""Billing in the admin. Money is there to be read; what may be changed is checked, audited, or given to an operation."""

from billing.admin import billers, books, machines, people

__all__ = ["billers", "books", "machines", "people"]
