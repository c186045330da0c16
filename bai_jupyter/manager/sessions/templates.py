"""Session templates: a request for a session in a file, kept by the manager. Backend.AI's ``taskTemplate``.

::

    api_version: v1
    kind: taskTemplate
    metadata: {name: my-template, tag: exam}
    spec:
      session_type: batch
      kernel:
        image: bai/python:3.12
        environ: {MODE: fast}
        run: {bootstrap: "pip install .", startup: "python train.py"}
      scaling_group: default
      mounts: {data: /home/work/data}
      resources: {cpu: 2, mem: 4g}

What a template says a request may overrule.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db import templates
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.templates import TemplateRecord
from bai_jupyter.manager.sessions import requests
from bai_jupyter.manager.sessions.requests import bad_value

MAX_CHARACTERS = 64 * 1024
_NO_NAME = "template"  # a template has a name of its own; that of the session is the request's
_KINDS = ("taskTemplate", "task_template")
_SPEC = {"type", "session_type", "sessionType", "kernel", "scaling_group", "scalingGroup", "mounts", "resources"}
_KERNEL = {"image", "architecture", "environ", "run"}
_RUN = {"bootstrap", "startup", "startup_command", "startupCommand"}

Template = Mapping[str, Any]


class Templates:
    """Everybody's own."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now

    async def create(self, caller: Caller, payload: object) -> Sequence[str]:
        """Keep the template, or each of a list of them. Returns their ids; all or none are kept."""
        found = read_payload(payload)
        given = found if isinstance(found, list) else [found]
        named = [(check(one), one) for one in given]
        return await self._store.write(templates.create, caller.user_id, named, self._now())

    async def list(self, caller: Caller, *, everybody: bool) -> Sequence[TemplateRecord]:
        if everybody:
            policy.require(caller.role, "session:any-owner")
        return await self._store.read(templates.list_templates, None if everybody else caller.user_id)

    async def get(self, caller: Caller, template_id: object) -> TemplateRecord:
        found = await self._store.read(templates.find, str(template_id), caller.user_id)
        if found is None:
            raise NotFound(
                Reason.of("not-found", kind="session template", name=template_id), title="No such task template."
            )
        return found

    async def replace(self, caller: Caller, template_id: str, payload: object) -> None:
        present = await self.get(caller, template_id)
        given = read_payload(payload)
        await self._store.write(templates.replace, present.id, check(given), given)

    async def delete(self, caller: Caller, template_id: str) -> None:
        present = await self.get(caller, template_id)
        await self._store.write(templates.delete, present.id)


def read_payload(payload: object) -> Any:
    """A template as it is sent: YAML or JSON text, or the thing itself."""
    if not isinstance(payload, str):
        return payload
    if len(payload) > MAX_CHARACTERS:
        raise bad_value("payload", f"{len(payload)} characters", f"at most {MAX_CHARACTERS} characters")
    try:
        return yaml.load(payload, _Plain)  # noqa: S506 - a safe loader with less
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadRequest(f"payload is neither YAML nor JSON: {str(error)[:300]}.") from error


def write_payload(template: Template) -> str:
    return yaml.safe_dump(dict(template), sort_keys=False, allow_unicode=True)


def check(template: object) -> str:
    """The name of a template that a session can be made from. Raises ``BadRequest`` naming what is wrong."""
    if not isinstance(template, Mapping):
        raise bad_value("payload", template, "a template")
    if template.get("kind") not in _KINDS:
        raise bad_value("kind", template.get("kind"), _KINDS[0])
    metadata = _part(template, "metadata", {"name", "tag"})
    name = metadata.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_CHARACTERS:
        raise bad_value("metadata.name", name, "a text")
    try:
        json.dumps(template, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"payload holds what JSON cannot: {error}.") from error
    requests.read_request({"name": _NO_NAME, **body_of(template)})
    return name


def body_of(template: Template) -> dict[str, Any]:
    """The body of ``POST /session`` that a template stands for, but for the session's name."""
    spec = _part(template, "spec", _SPEC)
    kernel = _part(spec, "kernel", _KERNEL, "spec.")
    run = _part(kernel, "run", _RUN, "spec.kernel.")
    mounts = spec.get("mounts") or {}
    if not isinstance(mounts, Mapping):
        raise bad_value("spec.mounts", mounts, "an object of folders and where to mount them")
    config = {
        "environ": {name: str(value) for name, value in _part(kernel, "environ", None, "spec.kernel.").items()},
        "mounts": list(mounts),
        "mount_map": {name: path for name, path in mounts.items() if path},
        "resources": spec.get("resources"),
        "scalingGroup": spec.get("scaling_group") or spec.get("scalingGroup"),
    }
    body = {
        "image": kernel.get("image"),
        "type": spec.get("session_type") or spec.get("sessionType") or spec.get("type"),
        "tag": _part(template, "metadata", None).get("tag"),
        "bootstrap_script": run.get("bootstrap"),
        "startupCommand": run.get("startup") or run.get("startup_command") or run.get("startupCommand"),
        "config": _given(config),
    }
    return _given(body)


def fill(template: Template, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a whole: the template's, and over it what the request gives. Variables are joined."""
    base, given = body_of(template), _given(body)
    config = given.pop("config", {})
    if not isinstance(config, Mapping):
        raise bad_value("config", config, "an object")
    below, above = base["config"], _given(config)
    if isinstance(above.get("environ"), Mapping):
        above["environ"] = {**below.get("environ", {}), **above["environ"]}
    return {**base, **given, "config": {**below, **above}}


def _part(whole: Mapping[str, Any], name: str, known: set[str] | None, prefix: str = "") -> Mapping[str, Any]:
    part = whole.get(name)
    if part is None:
        return {}
    if not isinstance(part, Mapping):
        raise bad_value(prefix + name, part, "an object")
    for key in part:
        if not isinstance(key, str) or (known is not None and key not in known):
            raise bad_value(f"{prefix}{name}", key, f"one of {', '.join(sorted(known or ()))}")
    return part


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Clients send empty values for what nobody asked for."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML without aliases, with which a short text can stand for a very long one, and without dates: JSON has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - yaml's way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)
