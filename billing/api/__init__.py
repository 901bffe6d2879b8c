"""The REST API of billing, and what the APIs of all apps stand on: keys, errors, pages, idempotency.

A module per noun holds its views and the shapes of what goes in and out; ``config.api`` puts them together.
"""
