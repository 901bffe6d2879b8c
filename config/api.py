"""The REST API put together: the addresses of every app, the OpenAPI document and its page."""

from __future__ import annotations

from django.urls import include, path, re_path
from django.views.generic import TemplateView
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import ApiView


class Document(SpectacularAPIView):
    """The OpenAPI document: the same for everybody, so everybody may read it."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    renderer_classes = [OpenApiYamlRenderer]


class Page(TemplateView):
    """The document as a page on which calls can be tried, all of it served by us."""

    template_name = "api/page.html"


class Nowhere(ApiView):
    """Whatever is not an address of the API: refused like a thing that is not there."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        """Refuse."""
        raise NotFound

    post = put = patch = delete = get


urlpatterns = [
    path("", include("billing.api.urls")),
    path("", include("payments.api.urls")),
    path("", include("datapump.api.urls")),
    path("", include("sms.api.urls")),
    path("openapi.yaml", Document.as_view(), name="api-openapi"),
    path("docs/", Page.as_view(), name="api-docs"),
    re_path(r"", Nowhere.as_view(), name="api-nowhere"),
]
