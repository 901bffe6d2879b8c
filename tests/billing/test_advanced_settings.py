"""The registry of numbered settings: every number that this installation knows, what it may be, where it is kept."""

from __future__ import annotations

import pytest

from billing import advanced_settings
from billing.actors import Actor
from billing.advanced_settings import AdvancedSetting, BadSetting, Kind, Row, UnknownSetting
from billing.models import AuditEntry, Biller, Setting
from datapump.models import Endpoint, Purpose
from tests.factories import make_biller

ACTOR = Actor.system("test")


@pytest.fixture
def biller(transactional_db: None) -> Biller:
    return make_biller()


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
