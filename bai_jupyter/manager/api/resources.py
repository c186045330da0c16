"""Resource groups and presets."""

from bai_jupyter.manager.api.base import Answer, ApiHandler, needs
from bai_jupyter.manager.db import catalog


class ResourceGroupsHandler(ApiHandler):
    @needs("resource:read")
    async def get(self) -> Answer:
        groups = await self.services.store.read(catalog.list_groups)
        views = [{"name": one.name, "selection": one.selection, "is_active": one.is_active} for one in groups]
        return 200, {"resource_groups": views}


class PresetsHandler(ApiHandler):
    @needs("resource:read")
    async def get(self) -> Answer:
        presets = await self.services.store.read(catalog.list_presets)
        views = [
            {
                "name": one.name,
                "resource_slots": one.slots.to_json(),
                "shared_memory": None if one.shm_bytes is None else str(one.shm_bytes),
            }
            for one in presets
        ]
        return 200, {"presets": views}


ROUTES = [
    (r"/resource-groups", ResourceGroupsHandler),
    (r"/resource/presets", PresetsHandler),
]
