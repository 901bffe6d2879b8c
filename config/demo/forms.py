"""What can be switched at the simulators, as forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

# The faults of the simulated processor that take time, and how long by default.
TIMED = frozenset({"late", "drop_then_late", "slow", "drip"})
OPERATIONS = ("CommitPaymentTransaction", "ModifyCBDataForCustomer", "WriteAccountHistoryComments", "PingURL")
_AVS = (("", "As the card says"), ("address", "Address does not match"), ("zip", "ZIP code does not match"))


class FaultForm(forms.Form):
    """One fault of the processor: how many of a hundred messages it strikes, and how many of the next for sure."""

    percent = forms.IntegerField(min_value=0, max_value=100, required=False)
    next = forms.IntegerField(min_value=0, max_value=1000, required=False)
    seconds = forms.FloatField(min_value=0, max_value=600, required=False)

    def __init__(
        self, data: Any, *, name: str, words: str, struck: int, initial: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, prefix=name, initial=dict(initial or {}))
        self.name, self.words, self.struck = name, words, struck
        labels = {"percent": "of a hundred messages", "next": "of the next messages", "seconds": "seconds"}
        for field, label in labels.items():
            self.fields[field].label = f"{name}: {label}"
            self.fields[field].widget.attrs |= {"aria-label": f"{name}: {label}", "class": "width-4"}
        if name not in TIMED:
            del self.fields["seconds"]

    def setting(self) -> dict[str, Any] | None:
        """Give the setting as the simulator takes it, nothing where the fault is off."""
        given = self.cleaned_data
        if not given["percent"] and not given["next"]:
            return None
        setting: dict[str, Any] = {"probability": (given["percent"] or 0) / 100, "next": given["next"] or 0}
        if "seconds" in given:
            setting["seconds"] = given["seconds"] or 0.0
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
    """Make the form of each fault that the processor knows, filled with how it stands."""
    made = []
    for name, words in switches["known_faults"].items():
        stands = switches["faults"].get(name)
        initial = {
            "percent": round(stands["probability"] * 100) if stands else None,
            "next": stands["next"] or None if stands else None,
            "seconds": stands["seconds"] if stands else 2,
        }
        made.append(FaultForm(data, name=name, words=words, struck=switches["struck"].get(name, 0), initial=initial))
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
    """One rule by which the CIS misbehaves."""

    action = forms.ChoiceField(label="What it does")
    operation = forms.ChoiceField(
        label="To which messages", required=False, choices=[("", "All"), *((one, one) for one in OPERATIONS)]
    )
    account = forms.CharField(label="Of one account", required=False, max_length=40, help_text="As the CIS writes it.")
    percent = forms.IntegerField(label="To how many of a hundred", min_value=1, max_value=100, initial=100)
    next = forms.IntegerField(
        label="How often, at most",
        min_value=1,
        max_value=100_000,
        required=False,
        help_text="Empty: until it is removed.",
    )
    seconds = forms.FloatField(label="Seconds, where it is slow", min_value=0, max_value=600, required=False, initial=2)

    def __init__(self, *args: Any, actions: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["action"].choices = [(name, f"{name}: {words}") for name, words in actions.items()]  # type: ignore[attr-defined]

    def rule(self) -> dict[str, Any]:
        """Give the rule as the simulator takes it."""
        given = self.cleaned_data
        rule = {"action": given["action"], "operation": given["operation"], "account": given["account"]}
        return {
            **rule,
            "probability": given["percent"] / 100,
            "next": given["next"],
            "seconds": given["seconds"] or 0.0,
        }
