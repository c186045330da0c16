"""What a session and a verdict are in words."""

import pytest

from bai_jupyter.words import ordinal, sentence_of, state_of, verdict_of

REFUSED = {"verdict": "refused", "reason": {"code": "over-quota", "text": "2 too much."}, "estimate_s": None}
WAIT = {"verdict": "wait", "reason": {"code": "queued", "text": "3rd in the queue."}, "estimate_s": 700}


@pytest.mark.parametrize(
    ("view", "word"),
    [
        ({"status": "RUNNING"}, "Running"),
        ({"status": "RUNNING", "unreachable": True}, "Unreachable"),
        ({"status": "RUNNING", "suspended": True}, "Suspended"),
        ({"status": "PENDING", "queue": None}, "Queued"),
        ({"status": "PENDING", "queue": {"position": 3, "of": 5}}, "Queued, 3rd"),
        ({"status": "PULLING", "progress": 43.2}, "Pulling 43 %"),
        ({"status": "PULLING", "progress": None}, "Pulling"),
    ],
)
def test_a_state_in_a_word_or_two(view, word):
    assert state_of(view) == word


def test_the_reason_is_the_sentence():
    assert sentence_of({"status": "ERROR", "reason": {"code": "other", "text": "It broke."}}) == "It broke."
    assert sentence_of({"status": "ERROR", "reason": None}) == "Failed"


def test_verdicts_are_sentences():
    assert verdict_of({"verdict": "now", "reason": None, "estimate_s": None}) == "Starts now."
    assert verdict_of(WAIT) == "Starts in about 12 min. 3rd in the queue."
    assert verdict_of({**WAIT, "estimate_s": None}) == "3rd in the queue."
    assert verdict_of(REFUSED) == "2 too much."


def test_ordinals():
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 22)] == ["1st", "2nd", "3rd", "4th", "11th", "22nd"]
