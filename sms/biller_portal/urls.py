"""The biller portal's pages about texting, below ``/biller/``."""

from __future__ import annotations

from django.urls import path

from sms.biller_portal import enrolments, imports, programmes, texts

_ACCOUNT = "accounts/<int:customer_id>/text"

urlpatterns = [
    path(f"{_ACCOUNT}/", enrolments.overview, name="biller-account-text"),
    path(f"{_ACCOUNT}/enrol/", enrolments.enrol, name="biller-account-text-enrol"),
    path(f"{_ACCOUNT}/unenrol/", enrolments.unenrol, name="biller-account-text-unenrol"),
    path(f"{_ACCOUNT}/bill/", enrolments.send_bill, name="biller-account-text-bill"),
    path(f"{_ACCOUNT}/again/", enrolments.ask_again, name="biller-account-text-again"),
    path(f"{_ACCOUNT}/keep/", enrolments.keep_number, name="biller-account-text-keep"),
    path(f"{_ACCOUNT}/<slug:which>/opt-out/", enrolments.opt_out, name="biller-account-text-opt-out"),
    path(f"{_ACCOUNT}/<slug:which>/resume/", enrolments.resume, name="biller-account-text-resume"),
    path("files/texts/", imports.enrolments_of_file, name="biller-text-import"),
    path("texts/", texts.TextList.as_view(), name="biller-texts"),
    path("texts/review/", texts.ReviewList.as_view(), name="biller-text-reviews"),
    path("texts/<uuid:text_id>/", texts.text, name="biller-text"),
    path("texts/<uuid:text_id>/close/", texts.close, name="biller-text-close"),
    path("settings/texts/", programmes.overview, name="biller-text-settings"),
    path("settings/texts/stop/", programmes.stop, name="biller-texts-stop"),
    path("settings/texts/allow/", programmes.allow, name="biller-texts-allow"),
    path("settings/texts/numbers/<int:line_id>/resume/", programmes.resume_line, name="biller-text-line-resume"),
    path("settings/texts/numbers/<int:line_id>/dismiss/", programmes.dismiss_warning, name="biller-text-line-dismiss"),
    path("settings/texts/words/<slug:message>/<slug:language>/", programmes.words, name="biller-wording"),
    path(
        "settings/texts/words/<slug:message>/<slug:language>/reset/",
        programmes.reset_words,
        name="biller-wording-reset",
    ),
]
