"""Choosing a base, following the builder, and saying what went wrong."""

import gc
from pathlib import Path

import pytest

from bai_jupyter.cli import images


def follow(*events: dict) -> tuple[str, list[tuple[str, float | None]]]:
    said: list[tuple[str, float | None]] = []
    return images._follow("python", iter(events), lambda what, fraction: said.append((what, fraction))), said


def test_progress_follows_the_steps_and_the_image_id_comes_out():
    image_id, said = follow(
        {"stream": "Step 1/4 : FROM x\n"},
        {"stream": " ---> 123\n"},
        {"stream": "Step 3/4 : RUN y\n"},
        {"aux": {"ID": "sha256:abc"}},
    )
    assert image_id == "sha256:abc"
    assert said == [
        ("python: Step 1/4 : FROM x", 0.0),
        ("python: ---> 123", 0.0),
        ("python: Step 3/4 : RUN y", 0.5),
    ]


def test_a_failed_step_is_named_with_the_end_of_its_own_output():
    with pytest.raises(images.ImageBuildFailed) as caught:
        follow(
            {"stream": "Step 1/2 : RUN good\n"},
            {"stream": "of the good step\n"},
            {"stream": "Step 2/2 : RUN bad\n"},
            {"stream": "\x1b[91mno space left\n\x1b[0m"},
            {"error": "The command '/bin/sh -c bad' returned a non-zero code: 1"},
        )
    assert str(caught.value).splitlines() == [
        "Building stopped at python: Step 2/2 : RUN bad",
        "returned a non-zero code: 1",
        "    no space left",
        "    ",
    ]


def test_a_builder_that_ends_without_an_image_is_a_failure():
    with pytest.raises(images.ImageBuildFailed, match="ended without an image"):
        follow({"stream": "Step 1/1 : FROM x\n"})


def test_an_unknown_name_is_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(images, "_connect", lambda: pytest.fail("asked the engine"))
    with pytest.raises(images.ImageBuildFailed, match=r"No recipe for pyton\. There are: python-minimal"):
        images.build(["python", "pyton"])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # docker-py forgets the socket that it could not connect
def test_no_engine_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(images.ImageBuildFailed, match="Start Docker, or set DOCKER_HOST"):
        images.build(["python"])
    assert images.local() == []
    gc.collect()


def test_every_recipe_has_its_dockerfile_and_target():
    for name, recipe in images.RECIPES.items():
        text = (images.recipes_folder() / recipe.folder / "Dockerfile").read_text()
        assert f" AS {recipe.target}\n" in text, name


def test_the_ca_bundle_is_the_one_the_host_names(monkeypatch, tmp_path):
    bundle = tmp_path / "site.crt"
    bundle.write_text("certificates")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    assert images._ca_bundle() == str(bundle)
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.crt"))
    assert Path(images._ca_bundle()).is_file()


def test_proxy_settings_are_handed_to_the_builder(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert images._proxies() == {}
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert images._proxies() == {"HTTPS_PROXY": "http://proxy:3128"}


def test_without_registry_and_local_image_a_base_needs_root_and_debootstrap(monkeypatch):
    monkeypatch.setattr(images, "_registry_has", lambda _name: False)
    monkeypatch.setattr(images, "_exists", lambda _client, _name: False)
    monkeypatch.setattr(images.shutil, "which", lambda _program: None)
    with pytest.raises(images.ImageBuildFailed, match=r"apt-get install debootstrap.*--base IMAGE"):
        images._choose_base(None, lambda _what, _fraction: None)


@pytest.mark.docker
class TestWithTheEngine:
    @pytest.fixture
    def recipe(self, monkeypatch, tmp_path, docker_client):
        """``recipe(text)``: ``images.build(["broken"])`` now builds this Dockerfile."""
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
        (tmp_path / "broken").mkdir()
        monkeypatch.setattr(images, "recipes_folder", lambda: tmp_path)
        monkeypatch.setitem(images.RECIPES, "broken", images.Recipe("broken", "broken", "test"))
        yield lambda text: (tmp_path / "broken" / "Dockerfile").write_text(
            f"ARG BASE\nFROM ${{BASE}} AS broken\n{text}"
        )
        if docker_client.images.list("bai/broken"):
            docker_client.images.remove("bai/broken:test")

    def test_a_build_that_fails_names_step_and_last_lines(self, recipe, python_image):
        recipe("RUN echo almost there; exit 7\n")
        with pytest.raises(images.ImageBuildFailed) as caught:
            images.build(["broken"], base=python_image)
        assert "Step 3/3 : RUN echo almost there; exit 7" in str(caught.value)
        assert "code: 7" in str(caught.value)
        assert "    almost there" in str(caught.value)

    def test_a_build_that_succeeds_is_tagged_and_listed(self, recipe, python_image, docker_client):
        recipe('LABEL ai.backend.kernelspec="1"\n')
        said = []
        assert images.build(["broken"], lambda *line: said.append(line), base=python_image) == ["bai/broken:test"]
        assert said[-1] == ("broken: bai/broken:test is ready", 1.0)
        docker_client.images.get("bai/broken:test").tag("bai-user/alice-1b2c3d4e/broken", "20260131-120000")
        try:
            assert [name for name in images.local() if "broken" in name] == ["bai/broken:test"]
        finally:
            docker_client.images.remove("bai-user/alice-1b2c3d4e/broken:20260131-120000")
