"""The composition root: settings, addresses, Celery and its beat table, the supervisor. It knows every app."""
