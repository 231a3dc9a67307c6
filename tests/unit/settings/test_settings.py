"""Settings come from a file, the environment and flags; what is wrong is refused by name; the page is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh import settings
from caremesh.errors import BadInput
from tools import settings_page

ROOT = Path(__file__).parents[3]


def file(home: Path, text: str) -> Path:
    (home / settings.FILE).write_text(text, "utf-8")
    return home


def refused(home: Path, flags: dict[str, str] | None = None, environment: tuple[str, ...] = ()) -> tuple[str, str]:
    with pytest.raises(BadInput) as error:
        settings.load(home, flags, environment)
    return error.value.code, error.value.place


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    found = settings.load(tmp_path)
    assert (found.listen_port, found.api_workers, found.block_every_s) == (8443, 2, 10.0)


def test_the_file_yields_to_the_environment_and_that_to_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, "listen_port = 1001\nadmin_port = 1002\napi_workers = 3\n")
    monkeypatch.setenv("CAREMESH_ADMIN_PORT", "2002")
    monkeypatch.setenv("CAREMESH_API_WORKERS", "4")
    found = settings.load(tmp_path, {"api_workers": "5"})
    assert (found.listen_port, found.admin_port, found.api_workers) == (1001, 2002, 5)


@pytest.mark.parametrize("name", settings.names())
def test_every_limit_is_kept(tmp_path: Path, name: str) -> None:
    said = settings.limits(name)
    if "ge" not in said:
        assert refused(tmp_path, {name: "no such host!"})[0] == "settings.01"
        return
    for value in (said["ge"], said["le"]):
        assert getattr(settings.load(tmp_path, {name: str(value)}), name) == value
    for value in (said["ge"] - 0.001, said["le"] + 1):
        code, place = refused(tmp_path, {name: str(value)})
        assert (code, place.partition(":")[0]) == ("settings.01", name)


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_says_what_it_is(name: str) -> None:
    said = settings.limits(name)
    assert said["sentence"].endswith(".")
    assert name.endswith("_s") == (said["unit"] == "seconds")
    assert name.endswith("_bytes") == (said["unit"] == "bytes")


def test_a_slip_in_a_name_is_told_wherever_it_stands(tmp_path: Path) -> None:
    assert refused(tmp_path, {"port": "1"}) == ("settings.04", "port")
    assert refused(tmp_path, environment=("CAREMESH_LISTEN_PROT",)) == ("settings.04", "CAREMESH_LISTEN_PROT")
    assert refused(file(tmp_path, "listen_prot = 1\n")) == ("settings.04", "listen_prot")


def test_variables_of_commands_and_of_others_are_no_slips(tmp_path: Path) -> None:
    settings.load(tmp_path, environment=("CAREMESH_HOME", "CAREMESH_PASSPHRASE", "PATH", "CAREMESH_LISTEN_PORT"))


def test_a_file_that_is_not_toml_is_named_with_the_line(tmp_path: Path) -> None:
    code, place = refused(file(tmp_path, "listen_port = \n"))
    assert code == "settings.02"
    assert "caremesh.toml" in place
    assert "line 1" in place


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).mkdir()
    assert refused(tmp_path) == ("settings.03", "caremesh.toml")


def test_a_wrong_value_is_not_repeated(tmp_path: Path) -> None:
    assert "secret" not in refused(tmp_path, {"listen_port": "secret"})[1]


def test_flags_in_both_spellings() -> None:
    words = ["--listen-port", "1", "--admin-host=::1", "--log_level", "debug"]
    assert settings.flags_of(words) == {"listen_port": "1", "admin_host": "::1", "log_level": "debug"}


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--prot", "1"], "settings.04"), (["listen_port"], "settings.04"), (["--listen-port"], "settings.01")],
)
def test_other_words_are_refused(words: list[str], code: str) -> None:
    with pytest.raises(BadInput) as error:
        settings.flags_of(words)
    assert error.value.code == code


def test_the_page_is_what_the_tool_writes() -> None:
    assert (ROOT / settings_page.PAGE).read_text("utf-8") == settings_page.page()
