import pytest

from bai_jupyter.manager.sessions.routes import Route, paths_above, read_ports, read_route


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/user/kim/", "/user/kim/"),
        ("/user/kim/lab/", "/user/kim/lab/"),
        ("/hub/at/user/kim/", "/hub/at/user/kim/"),
        ("/user/kim%40uni.example/", "/user/kim@uni.example/"),
        (":0", ":0"),
        *(
            (path, None)
            for path in (":42000", "/user/kim", "user/kim/", "/user/", "/session/", "/user/kim/a/b/", "//user/kim/", 7)
        ),
    ],
)
def test_paths_that_a_route_may_have(path, kept):
    assert read_route({"path": path, "port": 8888}) == (kept and Route(kept, 8888))


@pytest.mark.parametrize("port", [80, 65536, "8888", None])
def test_ports_that_a_route_may_not_have(port):
    assert read_route({"path": "/user/kim/", "port": port}) is None


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/user/kim/", ["/user/", "/user/kim/"]),
        ("/user/kim", ["/user/", "/user/kim/"]),
        ("/user/a%40b/lab", ["/user/", "/user/a@b/", "/user/a@b/lab/"]),
    ],
)
def test_routes_that_a_request_may_belong_to(path, above):
    assert list(paths_above(path)) == above


def test_long_paths_are_not_searched_to_their_end():
    assert len(paths_above("/a" * 1000)) < 20


@pytest.mark.parametrize(
    ("text", "ports"), [("", []), ("42000-42002", [42000, 42001, 42002]), ("42000-42000", [42000])]
)
def test_ports_of_the_manager_s_own(text, ports):
    assert list(read_ports(text)) == ports


@pytest.mark.parametrize("text", ["42000", "42002-42000", "80-90", "65535-65536", "a-b", "-"])
def test_what_is_no_range_of_ports(text):
    with pytest.raises(ValueError, match="such as 42000-42099"):
        read_ports(text)
