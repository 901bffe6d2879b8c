"""The settings of texting: the programme, its stop switch, its numbers, and the words of each message."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from billing import formats, wakes
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import answer_refusal, settings_tabs
from billing.errors import DomainError
from billing.forms import MoneyField, WordsField
from billing.models import Biller
from billing.money import ZERO
from billing.permissions import Permission
from sms import reports, segments, tasks
from sms.conversations import Language, Message, linting, wordings
from sms.models import Line, ProgrammeKind, Wording
from sms.operations import enrolments, lines, programmes

TAB = "biller-text-settings"
_LANGUAGES = {Language.ENGLISH: "English", Language.SPANISH: "Spanish"}


class ProgrammeForm(forms.Form):
    """A programme, as it is registered with the carriers."""

    name = WordsField(
        label="Name of the programme",
        max_length=40,
        help_text="Begins every text, as it is registered. Twenty characters leave room for one part.",
    )
    contact = WordsField(
        label="Phone number that payers may call",
        max_length=40,
        required=False,
        help_text="As it is written in texts. Empty: the biller’s own number.",
        widget=forms.TextInput(attrs={"class": "width-20", "autocomplete": "off"}),
    )
    opens = forms.ChoiceField(
        label="Texts go out from",
        choices=[(hour, formats.number(hour) + ":00") for hour in range(24)],
        help_text="In every time zone that the phone may be in. Answers to a payer’s text go at once.",
    )
    closes = forms.ChoiceField(label="Until", choices=[(hour, formats.number(hour) + ":00") for hour in range(1, 25)])
    most_a_day = forms.IntegerField(
        label="Most texts a day",
        min_value=1,
        max_value=50,
        help_text="That nobody asked for, to one phone in 24 hours.",
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )
    stop_ends_everything = forms.BooleanField(
        label="STOP ends every programme", required=False, help_text="For the phone that says it."
    )
    campaign = WordsField(
        label="Campaign id",
        max_length=40,
        required=False,
        help_text="At the carriers’ registry (10DLC).",
        widget=forms.TextInput(attrs={"class": "width-20", "autocomplete": "off"}),
    )
    terms = WordsField(
        label="What a payer agrees to",
        max_length=2_000,
        required=False,
        help_text="Read out by CSRs, shown to payers, and kept with each enrolment. Empty: the words that come with Ratepayer.",
        widget=forms.Textarea(attrs={"rows": 5}),
    )

    def __init__(self, *args: Any, biller: Biller, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["fee"] = MoneyField(
            label="Fee for a payment by text",
            currency=biller.currency,
            least=ZERO,
            help_text="On top of each payment; the payer is asked to CONFIRM it.",
        )
        self.order_fields(["name", "contact", "opens", "closes", "most_a_day", "fee", *list(self.fields)[5:-1]])

    def clean_opens(self) -> int:
        """Give the hour."""
        return int(self.cleaned_data["opens"])

    def clean_closes(self) -> int:
        """Give the hour."""
        return int(self.cleaned_data["closes"])


class WordsForm(forms.Form):
    """The words of one message in one language."""

    body = WordsField(label="Words", max_length=linting.LONGEST, strip=True, widget=forms.Textarea(attrs={"rows": 5}))


@biller_page(Permission.CHANGE_SETTINGS)
def overview(request: BillerRequest) -> HttpResponse:
    """Draw and change the programme; beside it the stop switch, the numbers, and the words of every message."""
    biller = request.biller
    voice = programmes.voice_of(biller)
    programme = voice.programme
    initial = {name: getattr(programme, name) for name in programmes.FIELDS}
    form = ProgrammeForm(request.POST if request.method == "POST" else None, biller=biller, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            changed = programmes.change(biller=biller, fields=form.cleaned_data, actor=request.actor)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "Saved." if changed else "Nothing was different, so nothing was changed.")
            return redirect(TAB)
    context = {
        "title": "Text programme",
        "section": "settings",
        "tabs": settings_tabs(TAB),
        "form": form,
        "programme": programme,
        "usual_terms": "" if programme.terms else enrolments.terms(programme, language="en"),
        "name_flaw": segments.count(programme.name).offender,
        "lines": list(Line.objects.filter(biller=biller).order_by("pk")),
        "wordings": [_row(voice, message) for message in Message],
    }
    return render(request, "biller_portal/texts/settings.html", context, status=422 if form.is_bound else 200)


def _row(voice: programmes.Voice, message: Message) -> dict[str, Any]:
    """Say of one message whose words it has in each language, and in how many parts it goes out."""
    return {
        "message": message,
        "words": reports.MESSAGES[message],
        "languages": [
            {
                "name": name,
                "url": reverse("biller-wording", args=[message, language]),
                "own": (str(message), str(language)) in voice.templates,
                "parts": segments.count(_usual(voice, message, language, _body(voice, message, language))).segments,
            }
            for language, name in _LANGUAGES.items()
        ],
    }


def _body(voice: programmes.Voice, message: Message, language: Language) -> str:
    return voice.templates.get((str(message), str(language))) or wordings.TEMPLATES[language][message]


def _usual(voice: programmes.Voice, message: Message, language: Language, body: str) -> str:
    return linting.usual(message, language, body, voice.speaker, link=programmes.sample_link())


@biller_page(Permission.CHANGE_SETTINGS)
def words(request: BillerRequest, message: str, language: str) -> HttpResponse:
    """Draw the words of one message with what they come to; a POST counts them again, or has the message go out in them."""
    biller, which, spoken = request.biller, _message_or_404(message), _language_or_404(language)
    voice = programmes.voice_of(biller)
    kept = _body(voice, which, spoken)
    form = WordsForm(request.POST if request.method == "POST" else None, initial={"body": kept})
    address = reverse("biller-wording", args=[message, language])
    form.fields["body"].widget.attrs |= {
        "hx-post": address, "hx-trigger": "input changed delay:300ms", "hx-vals": '{"check": "1"}', "hx-target": "#check",
        "hx-select": "#check", "hx-swap": "outerHTML", "lang": language,
    }  # fmt: skip
    counted = request.method == "POST" and "check" in request.POST
    if request.method == "POST" and not counted and form.is_valid():
        try:
            changed = programmes.put_into_words(
                biller=biller, message=which, language=spoken, body=form.cleaned_data["body"], actor=request.actor
            )
        except programmes.WordingRefused as refused:
            for flaw in refused.flaws:
                form.add_error("body", flaw.words)
        else:
            said = "Saved. This text goes out in your words now." if changed else "These are the words already."
            messages.success(request, said)
            return redirect("biller-wording", message, language)
    body = form.data.get("body", "").replace("\r\n", "\n").strip() if form.is_bound else kept
    if counted:
        form = WordsForm(initial={"body": body})
    own = (str(which), str(spoken)) in voice.templates
    context = {
        "title": f"{reports.MESSAGES[which]}, in {_LANGUAGES[spoken]}",
        "section": "settings",
        "tabs": settings_tabs(TAB),
        "form": form,
        "check": _check(voice, which, spoken, body[: linting.LONGEST]),
        "fields": sorted(wordings.fields(which)),
        "own": own,
        "usual": wordings.TEMPLATES[spoken][which],
        "language": language,
        "reset_url": reverse("biller-wording-reset", args=[message, language]) if own else "",
        "others": [
            (name, reverse("biller-wording", args=[message, one])) for one, name in _LANGUAGES.items() if one != spoken
        ],
    }
    wrong = form.is_bound and bool(form.errors)
    return render(request, "biller_portal/texts/wording.html", context, status=422 if wrong else 200)


def _check(voice: programmes.Voice, message: Message, language: Language, body: str) -> dict[str, Any]:
    """Say what words come to: how they read, in how many parts they go out, which sign is dear, what they lack."""
    flaws = programmes.flaws_of(voice, message, language, body)
    try:
        preview = _usual(voice, message, language, body)
        longest = linting.longest(message, language, body, voice.speaker, link=programmes.sample_link())
    except wordings.UnknownField:
        preview = longest = body
    count, most = segments.count(preview), segments.count(longest)
    offender = count.offender
    return {
        "preview": preview,
        "flaws": [flaw.words for flaw in flaws],
        "characters": len(body),
        "count": count,
        "most": most,
        "offender": offender,
        "in_words": offender is not None and offender.character in body,
        "place": body.find(offender.character) + 1 if offender else 0,
    }


@biller_page(Permission.CHANGE_SETTINGS)
def reset_words(request: BillerRequest, message: str, language: str) -> HttpResponse:
    """Ask, then go back to the words that come with Ratepayer."""
    which, spoken = _message_or_404(message), _language_or_404(language)
    back = reverse("biller-wording", args=[message, language])
    if request.method == "POST":
        try:
            programmes.use_usual_words(biller=request.biller, message=which, language=spoken, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, "This text goes out in the usual words again.")
        return redirect(back)
    mine = Wording.objects.filter(
        biller=request.biller, programme=ProgrammeKind.PAY_BY_TEXT, message=which, language=spoken
    )
    kept = mine.values_list("body", flat=True).first()
    context = {
        "title": "Go back to the usual words?",
        "section": "settings",
        "question": f"“{reports.MESSAGES[which]}” goes out in {_LANGUAGES[spoken]} as it comes with Ratepayer.",
        "rows": [("Your words", kept or "", ""), ("The usual words", wordings.TEMPLATES[spoken][which], "")],
        "button": "Use the usual words",
        "back_url": back,
    }
    return render(request, "biller_portal/confirm.html", context)


@biller_page(Permission.CHANGE_SETTINGS)
def stop(request: BillerRequest) -> HttpResponse:
    """Ask, then stop all texts of the programme."""
    if request.method == "POST":
        changed = programmes.stop(biller=request.biller, stopped=True, actor=request.actor)
        messages.warning(request, "No texts go out." if changed else "Texts were stopped already.")
        return redirect(TAB)
    context = {
        "title": "Stop all texts?",
        "section": "settings",
        "question": "No text goes out while this is on, and nobody can pay or enrol by text.",
        "facts": [
            ("STOP from phones", "It is still heard and obeyed."),
            ("Texts that wait", "They go out when texts are allowed again, if they are not too old by then."),
            ("Payments on their way", "Their results are still taken in."),
        ],
        "button": "Stop all texts",
        "danger": True,
        "back_url": reverse(TAB),
    }
    return render(request, "biller_portal/confirm.html", context)


@biller_page(Permission.CHANGE_SETTINGS)
def allow(request: BillerRequest) -> HttpResponse:
    """Ask, then let texts go out again."""
    if request.method == "POST":
        changed = programmes.stop(biller=request.biller, stopped=False, actor=request.actor)
        if changed:
            wakes.wake(tasks.send)
        messages.success(request, "Texts go out again." if changed else "Texts were going out already.")
        return redirect(TAB)
    context = {
        "title": "Allow texts again?",
        "section": "settings",
        "question": "What waits and is not too old goes out at once, and payers can pay and enrol by text.",
        "button": "Allow texts",
        "back_url": reverse(TAB),
    }
    return render(request, "biller_portal/confirm.html", context)


@biller_page(Permission.CHANGE_SETTINGS)
def resume_line(request: BillerRequest, line_id: int) -> HttpResponse:
    """Ask, then let a number send again that was stopped."""
    line = _line_or_404(request, line_id)
    if request.method == "POST":
        try:
            lines.resume(line=line, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            wakes.wake(tasks.send)
            messages.success(request, f"Texts go out from {formats.phone(line.number)} again.")
        return redirect(TAB)
    context = {
        "title": f"Let {formats.phone(line.number)} send again?",
        "section": "settings",
        "question": "Put right first what is wrong at the provider; else it stops again with the next text.",
        "rows": [("Stopped because", line.stopped_for, "")] if line.stopped_for else [],
        "button": "Let it send again",
        "back_url": reverse(TAB),
    }
    return render(request, "biller_portal/confirm.html", context)


@require_POST
@biller_page(Permission.CHANGE_SETTINGS)
def dismiss_warning(request: BillerRequest, line_id: int) -> HttpResponse:
    """Take away what a carrier was said to hold against a number's texts."""
    try:
        lines.dismiss_warning(line=_line_or_404(request, line_id), actor=request.actor)
        messages.success(request, "The warning is gone. The next one is shown again.")
    except DomainError as refused:
        messages.error(request, str(refused))
    return redirect(TAB)


def _line_or_404(request: BillerRequest, pk: int) -> Line:
    return get_object_or_404(Line.objects.visible_to(request.user).filter(biller=request.biller), pk=pk)


def _message_or_404(message: str) -> Message:
    try:
        return Message(message)
    except ValueError:
        raise Http404("No such message.") from None


def _language_or_404(language: str) -> Language:
    try:
        return Language(language)
    except ValueError:
        raise Http404("No such language.") from None
