"""Stripe: the driver of a real processor, one noun a module; ``docs/stripe.md`` is the operator's guide."""

from payments.gateways.stripe.gateway import StripeGateway

__all__ = ["StripeGateway"]
