import pytest

from telemetry.settings import (
    SETTINGS,
    CommaList,
    HeadraceSettings,
    SettingsError,
    refuse_unknown,
)


class Example(HeadraceSettings):
    api_port: int = 8000
    cors_origins: CommaList = ()


def test_a_key_that_no_process_knows_is_refused_with_the_nearest_one():
    with pytest.raises(SettingsError, match=r"HEADRACE_REDIS_ULR .*HEADRACE_REDIS_URL\?"):
        refuse_unknown({"HEADRACE_REDIS_ULR": "redis://x"})


def test_a_key_like_no_other_is_refused_with_the_place_of_the_list():
    with pytest.raises(SettingsError, match=r"docs/settings\.md"):
        refuse_unknown({"HEADRACE_QQQQQQ": "1"})


def test_a_key_of_another_process_is_ignored(monkeypatch):
    monkeypatch.setenv("HEADRACE_DEVICE", "cpu")
    assert Example.read().api_port == 8000


def test_other_peoples_variables_are_none_of_ours():
    refuse_unknown({"PATH": "/bin", "HEADRACES": "1"})


def test_values_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("HEADRACE_API_PORT", "9000")
    monkeypatch.setenv("HEADRACE_CORS_ORIGINS", "https://a.example, https://b.example,")
    settings = Example.read()
    assert settings.api_port == 9000
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_a_value_given_in_code_wins(monkeypatch):
    monkeypatch.setenv("HEADRACE_API_PORT", "9000")
    assert Example.read(api_port=9001).api_port == 9001


def test_a_wrong_value_names_its_variable(monkeypatch):
    monkeypatch.setenv("HEADRACE_API_PORT", "many")
    with pytest.raises(SettingsError, match=r"HEADRACE_API_PORT: .*\(got 'many'\)"):
        Example.read()


def test_reading_refuses_the_unknown(monkeypatch):
    monkeypatch.setenv("HEADRACE_NO_SUCH", "1")
    with pytest.raises(SettingsError, match="HEADRACE_NO_SUCH"):
        Example.read()


def test_every_setting_says_what_it_does():
    for name, setting in SETTINGS.items():
        assert setting.doc.endswith("."), name
        assert name == name.upper()
