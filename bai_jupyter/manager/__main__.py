"""``python -m bai_jupyter.manager``."""

from bai_jupyter.manager.app import ManagerApp

if __name__ == "__main__":
    ManagerApp.launch_instance()
