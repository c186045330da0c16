"""A multipart body in pieces of every size."""

import pytest

from bai_jupyter.manager.api.multipart import MultipartReader, Part, PartEnds, boundary_of

BODY = (
    b"preamble\r\n--XX\r\n"
    b'Content-Disposition: form-data; name="src"; filename="a%2Fb%20c.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"one\r\n--X\r\n-\r\n"
    b"\r\n--XX\r\n"
    b'Content-Disposition: form-data; name="src"; filename="empty"\r\n\r\n'
    b"\r\n--XX\r\n"
    b'Content-Disposition: form-data; name="other"\r\n\r\n'
    b"value"
    b"\r\n--XX--\r\nepilogue"
)
PARTS = [
    (Part("src", "a/b c.txt"), b"one\r\n--X\r\n-\r\n"),
    (Part("src", "empty"), b""),
    (Part("other", None), b"value"),
]


def parts_of(reader: MultipartReader, pieces: list[bytes]) -> list[tuple[Part, bytes]]:
    found: list[tuple[Part, bytes]] = []
    ended = 0
    for piece in pieces:
        for event in reader.feed(piece):
            match event:
                case Part():
                    found.append((event, b""))
                case bytes():
                    found[-1] = (found[-1][0], found[-1][1] + event)
                case PartEnds():
                    ended += 1
    assert ended == len(found)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_in_pieces(size):
    reader = MultipartReader(b"XX")
    assert parts_of(reader, [BODY[start : start + size] for start in range(0, len(BODY), size)]) == PARTS
    assert reader.is_complete


def test_no_line_before_the_first_boundary():
    reader = MultipartReader(b"XX")
    assert parts_of(reader, [BODY.removeprefix(b"preamble\r\n")]) == PARTS


def test_content_is_given_out_as_it_comes():
    reader = MultipartReader(b"XX")
    list(reader.feed(b'--XX\r\nContent-Disposition: form-data; name="src"\r\n\r\n'))
    given = b"".join(piece for _ in range(100) for piece in reader.feed(bytes(1000)) if isinstance(piece, bytes))
    assert 100_000 - len(given) < 10
    assert not reader.is_complete


@pytest.mark.parametrize("body", [b"--XX?\r\n", b"--XX\r\n" + b"A: b\r\n" * 10_000])
def test_what_is_not_multipart(body):
    with pytest.raises(ValueError, match=r"boundary|headers"):
        list(MultipartReader(b"XX").feed(body))


def test_boundary():
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    for odd in ("", "text/plain", "multipart/form-data", "application/json; boundary=x"):
        with pytest.raises(ValueError, match="multipart"):
            boundary_of(odd)
