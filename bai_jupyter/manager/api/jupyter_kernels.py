"""Jupyter kernels inside a session, and the stream to one."""

from bai_jupyter.common.slots import read_number
from bai_jupyter.manager.agents.streams import NO_SUCH, CallerSocket
from bai_jupyter.manager.api.base import Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.sessions.jupyter_kernels import StreamRefused
from bai_jupyter.manager.sessions.views import JupyterKernelView, jupyter_kernel_view


class JupyterKernelsHandler(ApiHandler):
    @takes(id=str, kernelspec=str, key=str, env=dict, folder=str, path=str, wake=str, wake_kernel=str)
    @gives(JupyterKernelView)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        created = await self.services.jupyter_kernels.start(self.caller, ref, self.params)
        return 201, jupyter_kernel_view(created)


class JupyterKernelHandler(ApiHandler):
    @gives(JupyterKernelView)
    @needs("session:read")
    async def get(self, ref: str, jupyter_kernel_id: str) -> Answer:
        found = await self.services.jupyter_kernels.get(self.caller, ref, jupyter_kernel_id)
        return 200, jupyter_kernel_view(found)

    @gives(None)
    @needs("session:control")
    async def delete(self, ref: str, jupyter_kernel_id: str) -> Answer:
        await self.services.jupyter_kernels.end(self.caller, ref, jupyter_kernel_id)
        return 204, None


class RestartHandler(ApiHandler):
    @gives(JupyterKernelView)
    @needs("session:control")
    async def post(self, ref: str, jupyter_kernel_id: str) -> Answer:
        restarted = await self.services.jupyter_kernels.restart(self.caller, ref, jupyter_kernel_id)
        return 200, jupyter_kernel_view(restarted)


class InterruptHandler(ApiHandler):
    @gives(None)
    @needs("session:control")
    async def post(self, ref: str, jupyter_kernel_id: str) -> Answer:
        await self.services.jupyter_kernels.interrupt(self.caller, ref, jupyter_kernel_id)
        return 204, None


class StreamHandler(CallerSocket, ApiHandler):
    """``/stream/session/{s}/jupyter-kernels/{id}?generation=N``: binary frames, joined to the agent's."""

    async def prepare(self) -> None:
        await super().prepare()
        policy.require(self.caller.role, "session:control")  # who hears a kernel can also run cells in it

    async def open(self, *args: str, **_kwargs: str) -> None:
        ref, jupyter_kernel_id = args
        self.tune()
        generation = self.get_query_argument("generation", "")
        wanted = read_number(generation)
        if generation and wanted is None:
            self.close(NO_SUCH, "generation must be a number")
            return
        try:
            self.join(await self.services.jupyter_kernels.open_stream(self.caller, ref, jupyter_kernel_id, wanted))
        except StreamRefused as error:
            self.close(error.code, str(error)[:120])


_ONE = r"/(?:session|kernel)/([^/]+)/jupyter-kernels"

ROUTES = [
    (_ONE, JupyterKernelsHandler),
    (_ONE + r"/([^/]+)", JupyterKernelHandler),
    (_ONE + r"/([^/]+)/restart", RestartHandler),
    (_ONE + r"/([^/]+)/interrupt", InterruptHandler),
    (r"/stream" + _ONE + r"/([^/]+)", StreamHandler),
]
