"""The addresses of the application with the style guide, which otherwise is there only under DEBUG."""

from django.urls import include, path

from config.urls import urlpatterns as every

urlpatterns = [*every, path("styleguide/", include("billing.biller_portal.styleguide"))]
