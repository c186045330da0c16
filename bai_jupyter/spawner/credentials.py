"""The keypair of the Hub's service, found where every program of ours looks."""

import os
from pathlib import Path

from bai_jupyter.client import ClientConfig, ConfigError, load_config


def service_config() -> ClientConfig:
    """Raises ``ConfigError`` that says what to do."""
    config = load_config(os.environ, Path.cwd())
    if config is None:
        raise ConfigError("The Hub has no credentials for the manager: name their file in BAI_CREDENTIALS.")
    return config
