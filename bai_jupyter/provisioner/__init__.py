"""``BaiProvisioner``: pick a Backend.AI kernel and the cells run in a session on an agent."""

from bai_jupyter.provisioner.provisioner import BaiProvisioner

__all__ = ["BaiProvisioner"]
