"""What a caller sees of an error."""

import pytest

from bai_jupyter.common import errors
from bai_jupyter.common.reasons import Reason


def public_errors() -> list[type[errors.PublicError]]:
    """Those of this module; a client has more of its own."""
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type)]
    return [cls for cls in classes if issubclass(cls, errors.PublicError)]


@pytest.mark.parametrize("cls", public_errors())
def test_problem_body(cls):
    assert cls("cpu: -1 is not an amount.").to_problem() == {
        "type": f"https://api.backend.ai/probs/{cls.slug}",
        "title": cls.title,
        "msg": "cpu: -1 is not an amount.",
    }
    assert 400 <= cls.status < 600


def test_each_class_has_its_own_slug():
    slugs = [cls.slug for cls in public_errors()]
    assert len(set(slugs)) == len(slugs)


def test_problem_body_of_a_reason():
    reason = Reason.of("over-sessions", level="user", name="ada", limit=2, used=2)
    error = errors.QuotaExceeded(reason, title="Too many.", data={"limit": 2})
    assert error.status == 412
    assert error.code == "over-sessions"
    assert str(error) == reason.text
    assert error.to_problem() == {
        "type": "https://api.backend.ai/probs/quota-exceeded",
        "title": "Too many.",
        "msg": "Your user ada allows 2 sessions and has 2. End one first.",
        "data": {"limit": 2, "reason": reason.to_json()},
    }


def test_data_handed_in_is_not_changed():
    data = {"limit": 2}
    errors.BadRequest(Reason.of("signature"), data=data).to_problem()
    assert data == {"limit": 2}


def test_internal_errors_are_not_public():
    for cls in (errors.InvalidTransition, errors.ProtocolError):
        assert issubclass(cls, errors.BaiError)
        assert not issubclass(cls, errors.PublicError)
