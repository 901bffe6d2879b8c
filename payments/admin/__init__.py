"""Payments in the admin: processors and rules to set up, everything that is money to read."""

from payments.admin import methods, money, processors, rules

__all__ = ["methods", "money", "processors", "rules"]
