"""Which notebook has which kernel, kept in a file so that it is still known after the server was killed."""

from jupyter_server.services.sessions.sessionmanager import SessionManager
from traitlets import default

from bai_jupyter.extension.kernels import BaiMappingKernelManager


class BaiSessionManager(SessionManager):
    """The stock session manager with its table in the folder of the kernel records.

    Rows of local kernels disappear at the first listing after a restart, as those kernels did.
    """

    @default("database_filepath")
    def _table_beside_the_kernel_records(self) -> str:
        kernels = self.kernel_manager
        return str(kernels.records.session_table) if isinstance(kernels, BaiMappingKernelManager) else ":memory:"
