"""Resource groups, presets and the kinds of slots; what is free, and what was used."""

import logging
from typing import Any, TypedDict

from bai_jupyter.common.slots import unit_of, words_of
from bai_jupyter.manager.api.base import Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.db import admission, catalog
from bai_jupyter.manager.db.listings import MAX_PAGE, Reach
from bai_jupyter.manager.people import inputs, usage
from bai_jupyter.manager.people.service import UsagePart
from bai_jupyter.manager.people.usage import DAY, LONGEST_BY_DAY, PROJECT, QUARTER, SESSION
from bai_jupyter.manager.people.visibility import visible_groups
from bai_jupyter.manager.sessions.capacity import CapacityView, PresetView, preset_view

log = logging.getLogger(__name__)


class NumberFormat(TypedDict):
    binary: bool
    round_length: int


class SlotView(TypedDict):
    slot_name: str
    description: str
    human_readable_name: str
    display_unit: str
    number_format: NumberFormat
    display_icon: str


class ResourceGroupsHandler(ApiHandler):
    @gives({"resource_groups": [{"name": str, "selection": str, "is_active": bool}]})
    @needs("resource:read")
    async def get(self) -> Answer:
        found = await self.services.store.read(visible_groups, self.caller)
        views = [{"name": one.name, "selection": one.selection, "is_active": one.is_active} for one in found]
        return 200, {"resource_groups": views}


class PresetsHandler(ApiHandler):
    @gives({"presets": [PresetView]})
    @needs("resource:read")
    async def get(self) -> Answer:
        presets = await self.services.store.read(catalog.list_presets)
        return 200, {"presets": [preset_view(one) for one in presets]}


class SlotsHandler(ApiHandler):
    @gives(dict[str, str])
    @needs("resource:read")
    async def get(self) -> Answer:
        agents = await self.services.agents.list_agents()
        return 200, {slot: unit_of(slot) for slot in sorted({slot for agent in agents for slot in agent.slots})}


class SlotDetailsHandler(ApiHandler):
    """How slots are shown to people: what clients put beside numbers."""

    @gives(dict[str, SlotView])
    @needs("resource:read")
    async def get(self) -> Answer:
        agents = await self.services.agents.list_agents()
        return 200, {slot: _details(slot) for slot in sorted({slot for agent in agents for slot in agent.slots})}


def _details(slot: str) -> SlotView:
    words = words_of(slot)
    return {
        "slot_name": slot,
        "description": words.description,
        "human_readable_name": words.name,
        "display_unit": words.unit,
        "number_format": {"binary": unit_of(slot) == "bytes", "round_length": words.decimals},
        "display_icon": words.icon,
    }


class RegistriesHandler(ApiHandler):
    """None: agents tell which images they have, and admins add others by name."""

    @gives({})
    @needs("domain:any")
    async def get(self) -> Answer:
        return 200, {}


class ScalingGroupsHandler(ApiHandler):
    """The same, as Backend.AI asks for them: those usable in one project."""

    @gives({"scaling_groups": [{"name": str}]})
    @needs("resource:read")
    async def get(self) -> Answer:
        found = await self.services.store.read(visible_groups, self.caller)
        return 200, {"scaling_groups": [{"name": one.name} for one in found if one.is_active]}


class CheckPresetsHandler(ApiHandler):
    @takes(group=str, scaling_group=str)
    @gives(CapacityView)
    @needs("resource:read")
    async def post(self) -> Answer:
        """``{"group"?: project, "scaling_group"?}``: what could still be started there, and which presets fit now."""
        project, group = self.params.get("group"), self.params.get("scaling_group")
        return 200, await self.services.creation.check_presets(self.caller, project, group)


class RecalculateHandler(ApiHandler):
    @gives({})
    @needs("policy:manage")
    async def post(self) -> Answer:
        """Counters are right at all times; this looks again, and corrects and logs what is not."""
        for wrong in await self.services.store.write(admission.recount):
            log.error("counter corrected: %s", wrong)
        return 200, {}


class MonthHandler(ApiHandler):
    @takes(month=str, group_ids=list)
    @gives([PROJECT])
    @needs("usage:read")
    async def get(self) -> Answer:
        """``{"month": "202611", "group_ids"?: [project id]}``: each project's containers of a month."""
        group_ids = self.params.get("group_ids") or None
        since, until = usage.read_month(self.params.get("month"))
        return 200, await self.services.people.usage(self.caller, since, until, group_ids)


class PeriodHandler(ApiHandler):
    @takes(group_id=str, start_date=str, end_date=str)
    @gives(PROJECT, {})
    @needs("usage:read")
    async def get(self) -> Answer:
        """``{"group_id": project id, "start_date": "20261101", "end_date": "20261130"}``: one project's containers."""
        since, until = usage.read_period(self.params.get("start_date"), self.params.get("end_date"))
        found = await self.services.people.usage(self.caller, since, until, [self.text("group_id")])
        return 200, found[0] if found and found[0]["c_infos"] else {}


class UsageHandler(ApiHandler):
    async def usage_by(self, part: UsagePart) -> list[dict[str, Any]]:
        """Of the period and of whom the request names. Raises ``BadRequest``, ``NotFound``, ``Forbidden``."""
        given = self.params.get("start_date"), self.params.get("end_date")
        since, until = usage.read_period(*given, LONGEST_BY_DAY)
        scope = inputs.one_of("me", "all")("scope", self.params.get("scope", "me"))
        project_id = self.params.get("group_id")
        return await self.services.people.usage_by(part, self.caller, since, until, project_id, of_all=scope == "all")


class DaysHandler(UsageHandler):
    @takes(start_date=str, end_date=str, group_id=str, scope=str)
    @gives({"days": [DAY]})
    @needs("resource:read")
    async def get(self) -> Answer:
        """``{"start_date": "20261101", "end_date": "20261130", "group_id"?: project id, "scope"?: "me" or "all"}``."""
        return 200, {"days": await self.usage_by(usage.by_day)}


class SessionUsageHandler(UsageHandler):
    @takes(start_date=str, end_date=str, group_id=str, scope=str, limit=int, offset=int)
    @gives({"sessions": [SESSION], "total_count": int})
    @needs("resource:read")
    async def get(self) -> Answer:
        """As by days; who held most is first."""
        limit, offset = self.number("limit", 50, 1, MAX_PAGE), self.number("offset", 0, 0, 2**31)
        found = await self.usage_by(usage.by_session)
        return 200, {"sessions": found[offset : offset + limit], "total_count": len(found)}


class UserStatsHandler(ApiHandler):
    @gives([QUARTER])
    @needs("resource:read")
    async def get(self) -> Answer:
        return 200, await self.services.people.stats(Reach(user_id=self.caller.user_id))


class AdminStatsHandler(ApiHandler):
    @gives([QUARTER])
    @needs("policy:manage")
    async def get(self) -> Answer:
        return 200, await self.services.people.stats(Reach())


ROUTES = [
    (r"/resource-groups", ResourceGroupsHandler),
    (r"/resource/presets", PresetsHandler),
    (r"/config/resource-slots", SlotsHandler),
    (r"/config/resource-slots/details", SlotDetailsHandler),
    (r"/config/docker-registries", RegistriesHandler),
    (r"/scaling-groups", ScalingGroupsHandler),
    (r"/resource/check-presets", CheckPresetsHandler),
    (r"/resource/recalculate-usage", RecalculateHandler),
    (r"/resource/usage/month", MonthHandler),
    (r"/resource/usage/period", PeriodHandler),
    (r"/resource/usage/days", DaysHandler),
    (r"/resource/usage/sessions", SessionUsageHandler),
    (r"/resource/stats/user/month", UserStatsHandler),
    (r"/resource/stats/admin/month", AdminStatsHandler),
]
