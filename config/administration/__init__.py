"""The admin as an app: Django's own, with a site of ours. This module is read before there are models."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class Administration(AdminConfig):
    """Django's admin with our site, and others' pages in it as we want them."""

    default_site = "config.administration.sites.Site"

    def ready(self) -> None:
        """Collect every app's pages, then change those that are not ours."""
        super().ready()
        from config.administration import others

        others.settle()
