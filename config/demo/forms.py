"""What can be switched at the simulators, as forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from billing.forms import PhoneField

# The faults that take time.
TIMED = frozenset({"late", "drop_then_late", "slow", "drip", "rate_limit", "delay", "reorder"})
# What the telephone network carries, and how it finds a phone that something is wrong with.
OCCASIONS = {"text": "Texts to phones", "inbound": "Texts typed", "report": "Status reports"}
CONDITIONS = {
    "": "It works",
    "invalid_number": "Its number is none",
    "landline": "It is a landline",
    "unsubscribed": "It has unsubscribed at the network",
    "unreachable": "It is switched off",
    "blocked": "It blocks the biller",
    "no_such_phone": "Nobody has this number any more",
    "carrier_down": "Its carrier cannot be reached",
    "filtered": "Its carrier filters the texts",
    "unexplained": "Texts do not arrive, and nobody says why",
    "unregistered": "The biller’s number is not registered",
}
OPERATIONS = (
    "CommitPaymentTransaction",
    "ModifyCBDataForCustomer",
    "WriteAccountHistoryComments",
    "GetPayableItemsList",
    "PingURL",
    "Print",
)
EVENTS = (
    "payment.posted",
    "paperless.changed",
    "autopay.changed",
    "scheduled_payment.changed",
    "pay_by_text.changed",
    "ping",
)
_AVS = (("", "As the card says"), ("address", "Address does not match"), ("zip", "ZIP code does not match"))


class FaultForm(forms.Form):
    """One fault: how many of a hundred messages it strikes, and how many of the next for sure.

    ``occasions`` are the kinds of messages among which one may choose.
    """

    percent = forms.IntegerField(min_value=0, max_value=100, required=False)
    next = forms.IntegerField(min_value=0, max_value=1000, required=False)
    seconds = forms.FloatField(min_value=0, max_value=600, required=False)
    on = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(
        self,
        data: Any,
        *,
        name: str,
        words: str,
        struck: int,
        initial: Mapping[str, Any] | None = None,
        occasions: Sequence[str] = (),
    ) -> None:
        super().__init__(data, prefix=name, initial=dict(initial or {}))
        self.name, self.words, self.struck = name, words, struck
        labels = {"percent": "of a hundred messages", "next": "of the next messages", "seconds": "seconds"}
        for field, label in labels.items():
            self.fields[field].label = f"{name}: {label}"
            self.fields[field].widget.attrs |= {"aria-label": f"{name}: {label}", "class": "width-4"}
        if name not in TIMED:
            del self.fields["seconds"]
        if occasions:
            self.fields["on"].choices = [(one, OCCASIONS[one]) for one in occasions]  # type: ignore[attr-defined]
        else:
            del self.fields["on"]

    def clean(self) -> dict[str, Any]:
        """Have a fault that is on strike something."""
        given = self.cleaned_data
        if "on" in self.fields and not given.get("on") and (given.get("percent") or given.get("next")):
            self.add_error("on", f"{self.name}: choose what it strikes")
        return given

    def setting(self) -> dict[str, Any] | None:
        """Give the setting as the simulator takes it, nothing where the fault is off."""
        given = self.cleaned_data
        if not given["percent"] and not given["next"]:
            return None
        setting: dict[str, Any] = {"probability": (given["percent"] or 0) / 100, "next": given["next"] or 0}
        if "seconds" in given:
            setting["seconds"] = given["seconds"] or 0.0
        if "on" in given:
            setting["on"] = given["on"]
        return setting


class ProcessorForm(forms.Form):
    """What else the processor can be made to do."""

    duplicate_detection = forms.BooleanField(
        required=False, label="Duplicate detection", help_text="The same key again is answered and not charged again."
    )
    cvv_fails = forms.BooleanField(required=False, label="Security codes fail")
    avs = forms.ChoiceField(required=False, choices=_AVS, label="Address check of cards that would pass")

    def changes(self) -> dict[str, Any]:
        """Give the switches as the simulator takes them."""
        given = self.cleaned_data
        return {
            "duplicate_detection": given["duplicate_detection"],
            "cvv_fails": given["cvv_fails"],
            "avs": given["avs"] or None,
        }


def fault_forms(switches: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> list[FaultForm]:
    """Make the form of each fault that a simulator knows, filled with how it stands.

    The telephone network says of each fault what it can strike, the processor does not.
    """
    made = []
    for name, known in switches["known_faults"].items():
        does, on = (known, []) if isinstance(known, str) else (known["does"], known["on"])
        occasions = [one for one in on if one in OCCASIONS]
        stands = switches["faults"].get(name)
        initial = {
            "percent": round(stands["probability"] * 100) or None if stands else None,
            "next": stands["next"] or None if stands else None,
            "seconds": stands["seconds"] if stands else 2,
            "on": stands["on"] if stands else occasions,
        }
        struck = switches["struck"].get(name, 0)
        made.append(FaultForm(data, name=name, words=does, struck=struck, initial=initial, occasions=occasions))
    return made


class MethodForm(forms.Form):
    """What the methods of one account do from now on."""

    account = forms.CharField(label="Account number", max_length=40)
    outcome = forms.ChoiceField(label="Its cards and bank accounts")

    def __init__(self, *args: Any, outcomes: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        choices = [(one, one.replace("_", " ").capitalize()) for one in outcomes if one != "refused"]
        self.fields["outcome"].choices = choices  # type: ignore[attr-defined]


class RuleForm(forms.Form):
    """One rule by which a biller's system misbehaves.

    ``kinds`` are the messages among which one may choose, and ``named`` is what the system calls the kind in a rule.
    """

    action = forms.ChoiceField(label="What it does")
    kind = forms.ChoiceField(label="To which messages", required=False)
    account = forms.CharField(
        label="Of one account", required=False, max_length=40, help_text="As the biller’s system writes it."
    )
    percent = forms.IntegerField(label="To how many of a hundred", min_value=1, max_value=100, initial=100)
    next = forms.IntegerField(
        label="How often, at most",
        min_value=1,
        max_value=100_000,
        required=False,
        help_text="Empty: until it is removed.",
    )
    seconds = forms.FloatField(label="Seconds, where it is slow", min_value=0, max_value=600, required=False, initial=2)

    def __init__(
        self, *args: Any, actions: Mapping[str, str], named: str, kinds: Sequence[str], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.named = named
        self.fields["action"].choices = [(name, f"{name}: {words}") for name, words in actions.items()]  # type: ignore[attr-defined]
        self.fields["kind"].choices = [("", "All"), *((one, one) for one in kinds)]  # type: ignore[attr-defined]

    def rule(self) -> dict[str, Any]:
        """Give the rule as the simulator takes it."""
        given = self.cleaned_data
        rule = {"action": given["action"], self.named: given["kind"], "account": given["account"]}
        return {
            **rule,
            "probability": given["percent"] / 100,
            "next": given["next"],
            "seconds": given["seconds"] or 0.0,
        }


class LeftForm(forms.Form):
    """What is left on a prepaid account from now on."""

    left = forms.DecimalField(label="Left on the account", max_digits=9, decimal_places=2)
    account = forms.CharField(widget=forms.HiddenInput, max_length=40)


class TypeForm(forms.Form):
    """A text, typed on a telephone."""

    body = forms.CharField(
        label="Text",
        max_length=1600,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off"}),
        error_messages={"required": "Type a text"},
    )

    def clean_body(self) -> str:
        """End lines as telephones do; browsers end them as mail does."""
        body: str = self.cleaned_data["body"].replace("\r\n", "\n")
        if not body.strip():
            raise forms.ValidationError(self.fields["body"].error_messages["required"])
        return body


class PhoneForm(forms.Form):
    """One more telephone."""

    name = forms.CharField(label="Whose it is", max_length=60, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    number = PhoneField(
        label="Number",
        help_text="Numbers from 555-0100 to 555-0199 belong to nobody, in any area.",
        widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "off"}),
    )


class ConditionForm(forms.Form):
    """What is wrong with a telephone."""

    condition = forms.ChoiceField(label="What is wrong with it", required=False)

    def __init__(self, *args: Any, known: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["condition"].choices = [(one, CONDITIONS[one]) for one in known]  # type: ignore[attr-defined]


class NetworkForm(forms.Form):
    """What else the telephone network can be made to do."""

    managed_opt_out = forms.BooleanField(
        required=False,
        label="It acts on STOP, START and HELP by itself",
        help_text="And answers them, as some providers do.",
    )
    recognises_repeats = forms.BooleanField(
        required=False, label="It recognises repeats", help_text="The same key again sends no second text."
    )
    latency_seconds = forms.FloatField(
        label="Seconds that a text is on its way",
        min_value=0,
        max_value=600,
        required=False,
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )

    def changes(self) -> dict[str, Any]:
        """Give the switches as the network takes them."""
        return {**self.cleaned_data, "latency_seconds": self.cleaned_data["latency_seconds"] or 0.0}
