"""``/template/session``, and sessions made from one."""

from collections.abc import Mapping
from typing import Any, TypedDict

from bai_jupyter.manager.api.base import Answer, OwnedHandler, Raw, gives, needs, takes
from bai_jupyter.manager.api.sessions import CREATE, CreatedView, created_view
from bai_jupyter.manager.db.templates import TemplateRecord
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.templates import fill, write_payload


class TemplateView(TypedDict):
    id: str
    name: str
    created_at: str
    is_owner: bool
    type: str
    user: str
    group: None
    user_id: str
    domain_name: str
    group_id: str
    template: Mapping[str, Any]


class TemplatesHandler(OwnedHandler):
    @takes(all=bool)
    @gives([TemplateView])
    @needs("template:read")
    async def get(self) -> Answer:
        """One's session templates."""
        found = await self.services.templates.list(self.caller, everybody=self.flag("all"))
        return 200, [_view(one, is_owner=one.user_id == self.caller.user_id) for one in found]

    @takes(payload=str)
    @gives([{"id": str, "user": str}])
    @needs("template:manage")
    async def post(self) -> Answer:
        """Keep a session template, YAML or JSON."""
        ids = await self.services.templates.create(self.caller, self.params.get("payload"))
        return 200, [{"id": one, "user": self.caller.user_id} for one in ids]


class TemplateHandler(OwnedHandler):
    @takes(format=str)
    @gives("application/yaml", dict)
    @needs("template:read")
    async def get(self, template_id: str) -> Answer:
        """A session template as yaml or json."""
        found = await self.services.templates.get(self.caller, template_id)
        match self.params.get("format") or "yaml":
            case "yaml":
                return 200, Raw("application/yaml; charset=UTF-8", write_payload(found.template))
            case "json":
                return 200, found.template
            case other:
                raise bad_value("format", other, "yaml or json")

    @takes(payload=str)
    @gives({"success": bool})
    @needs("template:manage")
    async def put(self, template_id: str) -> Answer:
        """Exchange a session template for another."""
        await self.services.templates.replace(self.caller, template_id, self.params.get("payload"))
        return 200, {"success": True}

    @gives({"success": bool})
    @needs("template:manage")
    async def delete(self, template_id: str) -> Answer:
        """Delete a session template."""
        await self.services.templates.delete(self.caller, template_id)
        return 200, {"success": True}


class FromTemplateHandler(OwnedHandler):
    @takes(template_id=str, **CREATE)
    @gives(CreatedView)
    @needs("session:create")
    async def post(self) -> Answer:
        """Queue a session as a template says; what is given goes before that."""
        template = await self.services.templates.get(self.caller, self.params.get("template_id"))
        created = await self.services.creation.create(self.caller, fill(template.template, self.params))
        return 201, created_view(created, await self.services.apps.list(created.session))


def _view(template: TemplateRecord, *, is_owner: bool) -> TemplateView:
    return {
        "id": template.id,
        "name": template.name,
        "created_at": template.created_at.isoformat(),
        "is_owner": is_owner,
        "type": "user",
        "user": template.user_name,
        "group": None,
        "user_id": template.user_id,
        "domain_name": template.domain,
        "group_id": template.project_id,
        "template": template.template,
    }


ROUTES = [
    (r"/template/session", TemplatesHandler),
    (r"/template/session/([^/]+)", TemplateHandler),
    (r"/(?:session|kernel)/_/create-from-template", FromTemplateHandler),
]
