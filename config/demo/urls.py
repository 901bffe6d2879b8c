"""The demonstration's pages, below ``/demo/``."""

from __future__ import annotations

from django.urls import path

from config.demo import pages, portals, systems, telephones

urlpatterns = [
    path("", pages.overview, name="demo"),
    path("processor", pages.processor, name="demo-processor"),
    path("processor/heal", pages.heal_processor, name="demo-processor-heal"),
    path("processor/methods", pages.change_methods, name="demo-processor-methods"),
    path("cis", systems.cis, name="demo-cis"),
    path("cis/heal", systems.heal_cis, name="demo-cis-heal"),
    path("cis/prepaid", systems.change_left, name="demo-cis-prepaid"),
    path("receiver", systems.receiver, name="demo-receiver"),
    path("receiver/heal", systems.heal_receiver, name="demo-receiver-heal"),
    path("portal", portals.portal, name="demo-portal"),
    path("portal/go", portals.go, name="demo-portal-go"),
    path("phone", telephones.phone, name="demo-phone"),
    path("phone/add", telephones.add_phone, name="demo-phone-add"),
    path("phone/condition", telephones.change_condition, name="demo-phone-condition"),
    path("phone/network", telephones.change_network, name="demo-phone-network"),
    path("phone/heal", telephones.heal, name="demo-phone-heal"),
    path("phone/redeliver", telephones.redeliver, name="demo-phone-redeliver"),
]
