"""How this manager is set up: each of its options and of what admins set while it runs, and where that is set.

An option tagged ``secret`` is named, and its value is never told; of one tagged ``is_url`` neither password nor query.
"""

from typing import Any, Literal, TypedDict

from sqlalchemy.engine import make_url
from traitlets import TraitType
from traitlets.config import Application


class SettingView(TypedDict):
    """``source``: where the value is set; ``program``: by what started the manager within itself. What a ``file`` or
    the command line sets is changed there, and counts when the manager starts again."""

    name: str
    value: Any
    default: Any
    source: Literal["default", "file", "command line", "program", "database"]
    file: str | None
    is_hidden: bool
    help: str


def options_of(app: Application, config_file: str) -> list[SettingView]:
    """Of an application whose configuration was read, from ``config_file`` if there is one."""
    own = type(app).class_own_traits(config=True)
    return [_option(app, trait, config_file) for trait in (*own.values(), app.traits()["log_level"])]


def _option(app: Application, trait: TraitType[Any, Any], config_file: str) -> SettingView:
    name = str(trait.name)
    value, default = getattr(app, name), app.trait_defaults(name)
    source = _source(app, name, is_file=bool(config_file), is_default=value == default)
    return {
        "name": f"{type(app).__name__}.{name}",
        "value": _shown(trait, value),
        "default": _shown(trait, default),
        "source": source,
        "file": config_file if source == "file" else None,
        "is_hidden": bool(trait.metadata.get("secret")),
        "help": str(trait.help),
    }


def _source(
    app: Application, name: str, *, is_file: bool, is_default: bool
) -> Literal["default", "file", "command line", "program"]:
    sections = type(app).section_names()
    if any(name in app.cli_config.get(one, {}) for one in sections):
        return "command line"
    if is_file and any(name in app.config.get(one, {}) for one in sections):
        return "file"
    return "default" if is_default else "program"


def _shown(trait: TraitType[Any, Any], value: Any) -> Any:
    if trait.metadata.get("secret"):
        return None
    if trait.metadata.get("is_url"):
        return make_url(value).set(query={}).render_as_string(hide_password=True)
    return value


def kept(name: str, value: str | None, what: str) -> SettingView:
    """Of what admins set while it runs."""
    return {
        "name": name,
        "value": value or "",
        "default": "",
        "source": "database" if value else "default",
        "file": None,
        "is_hidden": False,
        "help": what,
    }
