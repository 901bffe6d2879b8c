"""The registry of numbered settings: every number that this installation knows, what it may be, where it is kept."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from billing import advanced_settings
from billing.actors import Actor
from billing.advanced_settings import AdvancedSetting, BadSetting, Kind, Row, UnknownSetting
from billing.models import AuditEntry, Biller, Setting
from datapump.forms import SettingField
from datapump.models import Endpoint, Purpose
from tests.factories import make_biller

ACTOR = Actor.system("test")


@pytest.fixture
def biller(transactional_db: None) -> Biller:
    return make_biller()


@pytest.mark.spec("MSP-35")
def test_each_setting_says_what_it_is() -> None:
    known = {one.number: one for one in advanced_settings.registered()}
    assert {8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 35, 64, 65, 119, 131} <= set(known)
    for one in known.values():
        assert str(one.name)
        assert str(one.help)
        assert one.store.where
    assert {number for number, one in known.items() if one.secret} == {10, 13, 16, 19}
    assert {number for number, one in known.items() if one.kind is Kind.URL} >= {8, 11, 14, 17, 20}
    assert not known[9].differs
    assert known[8].differs
    assert known[35].default == "1"
    assert len({one.store.where for one in known.values()}) == len(known)  # each is stored once
    with pytest.raises(UnknownSetting):
        advanced_settings.setting(9999)
    with pytest.raises(ValueError, match="registered twice"):
        advanced_settings.register(AdvancedSetting(131, "Another", "", Kind.TEXT, Row(131)))


@pytest.mark.spec("MSP-35")
def test_a_value_is_kept_once_where_it_belongs(biller: Biller) -> None:
    def change(number: int, given: object) -> object:
        return advanced_settings.change(actor=ACTOR, biller=biller, number=number, given=given)

    assert advanced_settings.value(35, biller.pk) == "1"
    assert change(11, " https://cis.example/CB ") == "https://cis.example/CB"
    change(12, "user")
    change(13, "s3cret")
    change(35, "2")
    change(64, "0(WEB)")
    endpoint = Endpoint.objects.get(biller=biller)
    assert (endpoint.purpose, endpoint.url, endpoint.username, endpoint.password) == (
        Purpose.PAYMENTS, "https://cis.example/CB", "user", "s3cret",
    )  # fmt: skip
    assert endpoint.options == {"service_version": "2", "card_modes": "0(WEB)"}
    assert Setting.objects.count() == 0
    change(131, '{"Daffron": {"DataPumpConfigs": {"SkipDonationTypes": true}}}')
    assert Setting.objects.get().value == {"Daffron": {"DataPumpConfigs": {"SkipDonationTypes": True}}}
    entries = AuditEntry.objects.filter(event="setting.changed")
    assert [one.facts for one in entries.order_by("pk")] == [{"number": n} for n in (11, 12, 13, 35, 64, 131)]
    # The same again, and an empty secret, change nothing.
    change(35, 2)
    change(13, "")
    assert entries.count() == 6
    assert Endpoint.objects.get().password == "s3cret"
    # Nothing is the default.
    change(64, "")
    assert Endpoint.objects.get().options == {"service_version": "2"}
    assert advanced_settings.value(64, biller.pk) == ""


@pytest.mark.spec("MSP-35")
@pytest.mark.parametrize(
    ("number", "given"),
    [
        (8, "javascript:alert(1)"), (11, "cis.example"), (35, "3"), (64, "WEB"), (65, "0(A)|0(B)"), (131, "{"),
        (20, "javascript:alert(1)"), (20, "http://u:p@cis.example/"), (20, "http://cis.example/?a=b"), (119, "5"),
        (131, '{"PdfConfig": {"BCTRModifier": "Reversed"}}'), (131, "[1]"),
        (131, '{"Daffron": {"DataPumpConfigs": {"SkipDonationTypes": 1}}}'), (131, '{"x": NaN}'),
    ],
)  # fmt: skip
def test_what_is_not_possible_is_refused_and_changes_nothing(biller: Biller, number: int, given: str) -> None:
    with pytest.raises(BadSetting):
        advanced_settings.change(actor=ACTOR, biller=biller, number=number, given=given)
    assert (Endpoint.objects.count(), Setting.objects.count(), AuditEntry.objects.count()) == (0, 0, 0)


# What each kind of setting must refuse, and what it makes of something good.
KINDS: dict[Kind, tuple[tuple[object, ...], str]] = {
    Kind.URL: (("cis.example", "ftp://cis.example/", "https://", 7), "https://cis.example/services/CB"),
    Kind.CHOICE: (("none of them", "-1"), ""),
    Kind.JSON: (("{", "[", '{"nobody knows": 1}', "{'a': 1}", "NaN", "[" * 20_000), "{}"),
}


@pytest.mark.spec("MSP-35")
def test_each_setting_has_type_check_help_and_default_and_a_form_field_of_its_kind(biller: Biller) -> None:
    widgets = {
        Kind.TEXT: "TextInput", Kind.URL: "URLInput", Kind.SECRET: "PasswordInput", Kind.CHOICE: "Select",
        Kind.JSON: "Textarea",
    }  # fmt: skip
    for one in advanced_settings.registered():
        field = SettingField(one)
        assert type(field.widget).__name__ == widgets.get(one.kind, type(field.widget).__name__), one.number
        assert (str(field.label), field.help_text) == (f"{one.number} – {one.name}", one.help)
        assert one.read("") == one.read(None) == one.read("  ") == one.default
        wrong, good = KINDS.get(one.kind, ((), ""))
        for value in wrong:
            with pytest.raises(BadSetting) as refused:
                one.read(value)
            assert str(refused.value).endswith((".", "…"))
            with pytest.raises(ValidationError) as shown:
                field.clean(value)
            assert shown.value.messages[0]
        good = good or (one.choices[0][0] if one.choices else "")
        if one.kind in KINDS and one.number not in (20,):
            assert one.read(good) == (good if one.kind is not Kind.JSON else {})
        assert advanced_settings.value(one.number, biller.pk) == one.default


@pytest.mark.spec("MSP-35")
def test_json_that_breaks_its_schema_names_the_place() -> None:
    for given, words in (
        (
            '{"Daffron": {"DataPumpConfigs": {"SkipDonationTypes": "yes"}}}',
            "Daffron.DataPumpConfigs.SkipDonationTypes: ",
        ),
        ('{"Daffron": {"DataPumpConfigs": []}}', "Daffron.DataPumpConfigs: "),
        ('{"PdfConfig": {"BCTRModifier": 7}}', "PdfConfig.BCTRModifier: "),
        ('{\n "Daffron": {,}\n}', "Enter valid JSON (line 2, column 14)."),
    ):
        with pytest.raises(BadSetting) as refused:
            advanced_settings.setting(131).read(given)
        assert str(refused.value).startswith(words)


@pytest.mark.spec("MSP-35")
def test_the_list_of_all_shows_what_is_set_and_never_a_secret(biller: Biller) -> None:
    for number, given in (
        (11, "https://cis.example/CB"),
        (12, "user"),
        (13, "s3cret"),
        (35, "2"),
        (131, '{"Daffron": {}}'),
    ):
        advanced_settings.change(actor=ACTOR, biller=biller, number=number, given=given)
    shown = {one.setting.number: (one.words, one.given) for one in advanced_settings.standing(biller.pk)}
    assert list(shown) == [one.number for one in advanced_settings.registered()]
    assert shown[11] == ("https://cis.example/CB", True)
    assert shown[13] == ("Set; never shown", True)
    assert shown[16] == ("", False)
    assert shown[35] == ("2", True)
    assert shown[64] == ("", False)
    assert shown[131] == ('{"Daffron": {}}', True)
    assert "s3cret" not in str(shown)
    # The number's own value is what the connector gets of it, and stands encrypted in its row.
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM datapump_endpoint")
        assert "s3cret" not in cursor.fetchone()[0]
    assert Endpoint.objects.get().password == "s3cret"
