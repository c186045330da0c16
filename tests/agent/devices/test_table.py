"""Accelerators from a table, and which plugins an agent has."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from bai_agent.devices import plugins
from bai_agent.devices.table import TablePlugin

from bai_jupyter.common.slots import ResourceSlots

EXAMPLES = sorted((Path(__file__).parents[3] / "examples/accelerators").glob("*.toml"))
GROQ = {"key": "groq", "slot": "groq.device", "model": "GroqCard", "pci_vendor": "1de0", "pci_devices": ["0000"]}
FILLED_IN = {
    **GROQ,
    "node_pattern": r"/dev/groq(\d+)",
    "nodes": ["/dev/groq{number}_dma"],
    "rename_to": "/dev/groq{n}",
    "shared_nodes": ["/dev/groq_ctl"],
    "binds": [["/opt/groq", "/opt/groq"]],
    "caps": ["IPC_LOCK"],
    "memlock": True,
    "shm": "1g",
    "visible_env": {"GROQ_DEVICES": "number"},
}


def hold(plugin: TablePlugin, *ids: str) -> Any:
    from decimal import Decimal

    return plugin.options({"groq.device": {device_id: Decimal(1) for device_id in ids}})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_is_shipped_lists_cards_and_hands_none_out(path: Path, host: Any) -> None:
    plugin = TablePlugin.from_file(path, {})
    plugin.sysroot = host.root
    assert plugin.discover() == []
    vendor = str(plugin._table["pci_vendor"])
    host.pci("0000:05:00.0", vendor, "0000")
    host.pci("0000:06:00.0", "8086", "0000")
    (card,) = plugin.discover()
    assert (card.slots, card.attributes["pci"]) == (ResourceSlots(), "0000:05:00.0")
    assert card.health == f"its node_pattern is not filled in in the table {plugin.key}"


def test_there_is_an_example_for_each_vendor_of_which_only_the_site_knows() -> None:
    assert [path.stem for path in EXAMPLES] == ["groq", "sambanova", "sapeon"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")
def test_a_node_is_joined_to_its_card_by_the_kernel_s_record(host: Any) -> None:
    for number, address in ((3, "0000:05:00.0"), (11, "0000:02:00.0")):
        host.pci(address, "1de0", "0000", numa_node=number % 2)
        host.nodes(f"/dev/groq{number}_dma", gid=7)
        os.mknod(host.root / f"dev/groq{number}", 0o660 | stat.S_IFCHR, os.makedev(240, number))
        host.link(f"/sys/dev/char/240:{number}/device", f"/sys/bus/pci/devices/{address}")
    host.pci("0000:09:00.0", "1de0", "0000")
    # Another vendor's driver chose the same name.
    host.pci("0000:0a:00.0", "8086", "0000")
    os.mknod(host.root / "dev/groq5", 0o660 | stat.S_IFCHR, os.makedev(241, 5))
    host.link("/sys/dev/char/241:5/device", "/sys/bus/pci/devices/0000:0a:00.0")
    plugin = TablePlugin(FILLED_IN, sysroot=host.root)
    found = plugin.discover()
    assert [(item.device_id, bool(item.slots)) for item in found] == [
        ("groq-0000:05:00.0", True),
        ("groq-0000:02:00.0", True),
        ("groq-0000:09:00.0", False),
    ]
    assert found[2].health == "no device node matches node_pattern in the table groq"
    options = hold(plugin, "groq-0000:02:00.0")
    root = str(host.root)
    assert {path: node.removeprefix(root) for node, path, _ in options.nodes} == {
        "/dev/groq_ctl": "/dev/groq_ctl",
        "/dev/groq0": "/dev/groq11",
        "/dev/groq11_dma": "/dev/groq11_dma",
    }
    assert options.binds == ((f"{root}/opt/groq", "/opt/groq", True),)
    assert (options.caps, options.memlock, options.shm_bytes) == (("IPC_LOCK",), True, 1 << 30)
    assert (options.env, options.groups) == ({"GROQ_DEVICES": "11"}, (7,))


def test_nodes_whose_card_the_kernel_does_not_tell_are_known_by_number(host: Any) -> None:
    host.nodes("/dev/groq0", "/dev/groq12", "/dev/groq_ctl")
    host.pci("0000:05:00.0", "1de0", "0000")
    found = TablePlugin(FILLED_IN, sysroot=host.root).discover()
    assert [item.device_id for item in found] == ["groq-0", "groq-12"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "no such entry: colour"),
        ({"slot": "groq"}, "key and slot are needed"),
        ({"key": "Groq!"}, "key and slot are needed"),
        ({"caps": "IPC_LOCK"}, "caps is 'IPC_LOCK'; give a list"),
        ({"model": 3}, "model is 3; give a text"),
        ({"node_pattern": "/dev/groq"}, "with one group"),
        ({"node_pattern": "/dev/gr(oq"}, "with one group"),
        ({"node_pattern": r"/etc/(\d+)"}, "below /dev"),
        ({"rename_to": "/dev/x{n}"}, "need a node_pattern"),
    ],
)
def test_a_table_that_is_not_understood_says_what(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TablePlugin({**GROQ, **change})


# Which plugins there are


def test_plugins_are_allowed_and_blocked_by_name(tmp_path: Path) -> None:
    table = tmp_path / "groq.toml"
    table.write_text('key = "groq"\nslot = "groq.device"\n')
    assert [plugin.key for plugin in plugins.load([table], [], [], {})] == [*plugins.OURS, "groq"]
    assert [plugin.key for plugin in plugins.load([table], ["rngd", "groq"], [], {})] == ["rngd", "groq"]
    without = [plugin.key for plugin in plugins.load([table], [], ["rngd", "groq", "cuda"], {})]
    assert without == [key for key in plugins.OURS if key != "rngd"]


def test_each_plugin_gets_its_own_options(tmp_path: Path) -> None:
    options = {"rocm": {"shm": "1g"}, "groq": {"host_ipc": True}}
    table = tmp_path / "groq.toml"
    table.write_text('key = "groq"\nslot = "groq.device"\n')
    made: dict[str, Any] = {plugin.key: plugin for plugin in plugins.load([table], [], [], options)}
    assert (made["rocm"].config, made["groq"].config, made["rngd"].config) == (options["rocm"], options["groq"], {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], ["rocket"], [], {}), "no accelerator plugin rocket. There are: atom,"),
        (([], [], ["rocket"], {}), "no accelerator plugin rocket"),
        (([], [], [], {"rocket": {}}), "no accelerator plugin rocket"),
        (([], [], [], {"rocm": {"colour": 1}}), "rocm: no option colour"),
        (([], [], [], {"cuda": {"colour": 1}}), "cuda: no option colour"),
        (([Path("/no/such.toml")], [], [], {}), "/no/such.toml"),
    ],
)
def test_what_is_not_there_is_said(arguments: Any, said: str) -> None:
    with pytest.raises(plugins.NotUnderstood, match=said):
        plugins.load(*arguments)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: Any) -> Any:
    """``installed("acme = acme_plugin:Acme")``: a package on the path that offers this."""

    def install(line: str, source: str = "") -> None:
        info = tmp_path / "acme-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{line}\n")
        (tmp_path / "acme_plugin.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("acme_plugin", None)


_ACME = """
from bai_agent.devices.accelerator import AcceleratorPlugin
class Acme(AcceleratorPlugin):
    key = "acme"
    own_options = frozenset({"speed"})
    def candidates(self):
        return []
"""


def test_an_installed_package_adds_a_plugin(installed: Any) -> None:
    installed("acme = acme_plugin:Acme", _ACME)
    (plugin,) = plugins.load([], ["acme"], [], {"acme": {"speed": 3}})
    assert (plugin.key, plugin.discover()) == ("acme", [])


def test_one_that_cannot_be_imported_is_left_out_and_told(installed: Any, caplog: Any) -> None:
    installed("acme = acme_plugin:Acme", "import no_such_vendor_library")
    assert [plugin.key for plugin in plugins.load([], ["acme", "rocm"], [], {})] == ["rocm"]
    assert "accelerator plugin acme (acme_plugin:Acme) cannot be loaded" in caplog.text


def test_a_package_cannot_take_the_name_of_one_of_ours(installed: Any) -> None:
    installed("rocm = acme_plugin:Acme", _ACME)
    with pytest.raises(plugins.NotUnderstood, match="two accelerator plugins are called rocm"):
        plugins.load([], [], [], {})
