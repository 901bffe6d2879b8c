"""The demonstration's pages, below ``/demo/``."""

from __future__ import annotations

from django.urls import path

from config.demo import pages

urlpatterns = [
    path("", pages.overview, name="demo"),
    path("processor", pages.processor, name="demo-processor"),
    path("processor/heal", pages.heal_processor, name="demo-processor-heal"),
    path("processor/methods", pages.change_methods, name="demo-processor-methods"),
    path("cis", pages.cis, name="demo-cis"),
    path("cis/heal", pages.heal_cis, name="demo-cis-heal"),
]
