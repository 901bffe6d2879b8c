"""Signed webhooks by the Standard Webhooks specification; ``docs/webhooks.md`` tells receivers of them."""
