"""What the OpenAPI document says beside what views say themselves: how refusals look, and who may meet which."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.openapi import AutoSchema

from billing.api.views import ApiView

ERROR = {
    "type": "object",
    "description": "Why a call was refused. Nothing was done, unless the code is “internal”.",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "additionalProperties": False,
            "properties": {
                "code": {
                    "type": "string",
                    "description": "For programs; does not change.",
                    "example": "amount_refused",
                },
                "message": {"type": "string", "description": "For people."},
                "field": {"type": ["string", "null"], "description": "The input that is wrong, where one is."},
                "faults": {
                    "type": "array",
                    "description": "Everything that is wrong with the input, where it could not be read.",
                    "items": {
                        "type": "object",
                        "required": ["code", "message", "field"],
                        "additionalProperties": False,
                        "properties": {
                            "code": {"type": "string"},
                            "message": {"type": "string"},
                            "field": {"type": ["string", "null"]},
                        },
                    },
                },
            },
        }
    },
}

_WORDS = {
    "401": "There is no API key, or it opens nothing.",
    "403": "The key lacks the scope that the call needs.",
    "404": "There is nothing here that this key may see; what belongs to another biller is not here.",
    "409": "The call's key was used for another one, the first call is still being worked on, or the thing exists.",
    "422": "The input cannot be read, or what was asked for is refused.",
    "default": "Any other refusal.",
}


class ScopedSchema(AutoSchema):
    """Says of each call which scope its key needs."""

    def get_auth(self) -> list[dict[str, list[str]]]:
        """Give the schemes, with the scope."""
        return [{name: [self._scope()] for name in scheme} for scheme in super().get_auth()]

    def get_description(self) -> str:  # type: ignore[override]  # as its own base has it, not that base's
        """Give the words of the call, with the scope."""
        return f"{super().get_description()}\n\nThe key needs the scope `{self._scope()}`."

    def _scope(self) -> str:
        return str(cast("ApiView", self.view).scope_of(self.method))


def describe_refusals(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the refusals to every call of the document."""
    result["components"]["schemas"]["Error"] = ERROR
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, calls in result["paths"].items():
        for verb, call in calls.items():
            answers = call["responses"]
            wanted = ["401", "403", "default"]
            if "{" in path:
                wanted.append("404")
            if verb in {"post", "put", "delete"} or call.get("parameters"):
                wanted.append("422")
            if verb == "post":
                wanted.append("409")
            for status in wanted:
                answers.setdefault(status, {"description": _WORDS[status], "content": body})
            call["responses"] = {status: answers[status] for status in sorted(answers)}
    return result
