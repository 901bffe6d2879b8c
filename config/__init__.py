"""The composition root: settings, addresses, Celery, the beat table, the supervisor. It knows every app; none knows it."""
