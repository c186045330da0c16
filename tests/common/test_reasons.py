"""Sentences without holes."""

import re
from string import Formatter

import pytest

from bai_jupyter.common.reasons import SENTENCES, SLUGS, Reason


def params_of(code: str) -> dict[str, str]:
    return {name: f"<{name}>" for _, name, _, _ in Formatter().parse(SENTENCES[code]) if name}


@pytest.mark.parametrize("code", SENTENCES)
def test_every_code_makes_a_whole_sentence(code):
    params = params_of(code)
    text = Reason.of(code, **params).text
    assert all(value in text for value in params.values())
    assert not re.search(r"[{}]|  ", text)
    assert "!" not in text
    assert "please" not in text.lower()
    assert code in ("other", "no-room", "behind-others") or text.endswith((".", '."', '".'))


@pytest.mark.parametrize("code", [code for code in SENTENCES if params_of(code)])
def test_a_missing_parameter_is_an_error(code):
    params = params_of(code)
    name, _ = params.popitem()
    with pytest.raises(ValueError, match=name):
        Reason.of(code, **params)


def test_unknown_code_is_an_error():
    with pytest.raises(ValueError, match="no sentence for reason 'weather'"):
        Reason.of("weather")


def test_values_with_braces_stay_as_they_are():
    assert Reason.of("other", text="{oops} {0}").text == "{oops} {0}"


def test_slugs_belong_to_codes():
    assert SLUGS.keys() <= SENTENCES.keys()
    assert Reason.of("no-agent", group="lab").slug == "no-available-instances"
    assert Reason.of("task-finished").slug == "task-finished"


@pytest.mark.parametrize("code", SENTENCES)
def test_json_round_trip(code):
    reason = Reason.of(code, **params_of(code))
    assert Reason.from_json(reason.to_json()) == reason


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"code": "weather", "params": {"sky": "grey"}, "text": "It rains."}, "It rains."),
        ({"code": "weather", "params": {"sky": "grey"}}, "weather"),
        ({"code": "weather"}, "weather"),
        ({"code": "no-agent", "params": {}, "text": "No agent."}, "No agent."),  # a newer peer has other parameters
    ],
)
def test_reason_of_a_newer_peer_keeps_its_sentence(raw, text):
    assert Reason.from_json(raw).text == text


def test_parameters_this_version_does_not_know_are_kept():
    reason = Reason.from_json({"code": "no-agent", "params": {"group": "lab", "contact": "ada"}})
    assert reason.code == "no-agent"
    assert reason.params["contact"] == "ada"


def test_what_is_counted_is_one_or_many():
    said = [Reason.of("over-sessions", level="user", name="ada", limit=n, used=n).text for n in (1, 2)]
    assert said == [
        "Your user ada allows 1 session and has 1. End one first.",
        "Your user ada allows 2 sessions and has 2. End one first.",
    ]
