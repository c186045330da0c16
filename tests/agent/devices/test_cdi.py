"""CDI files, read by us."""

import json
from typing import Any

import pytest
from bai_agent.devices.base import DeviceFault, OptionConflict
from bai_agent.devices.cdi import resolve

_SPEC = {
    "cdiVersion": "0.7.0",
    "kind": "vendor.example/npu",
    "devices": [
        {
            "name": "0",
            "containerEdits": {
                "deviceNodes": [{"path": "/dev/npu0", "hostPath": "/dev/vendor/npu3"}, {"path": "/dev/ctl"}],
                "additionalGids": [44],
            },
        },
        {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/npu1", "permissions": "rw"}]}},
        {"name": "runtime"},
    ],
    "containerEdits": {
        "env": ["VENDOR=1", "PATHS=a=b"],
        "mounts": [
            {"hostPath": "/opt/vendor", "containerPath": "/opt/vendor", "options": ["ro", "nosuid", "bind"]},
            {"hostPath": "/run/vendor", "containerPath": "/run/vendor"},
        ],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/tool", "args": ["tool", "update-ldcache"]}],
    },
}
_YAML = """
cdiVersion: "0.6.0"
kind: other.example/nic
devices:
  - name: all
    containerEdits:
      env: ["NIC=all"]
"""


@pytest.fixture
def specs(host: Any) -> Any:
    host.write({"/etc/cdi/vendor.json": json.dumps(_SPEC), "/etc/cdi/nic.yaml": _YAML})
    host.write({"/etc/cdi/notes.txt": "{", "/etc/cdi/broken.json": "{", "/etc/cdi/list.yml": "- 1"})
    return host.root


def test_a_device_is_what_its_file_says_with_the_file_s_common_part_once(specs: Any) -> None:
    found = resolve(["vendor.example/npu=0", "vendor.example/npu=1", "other.example/nic=all"], specs)
    options = found.options
    assert options.nodes == (
        ("/dev/vendor/npu3", "/dev/npu0", "rwm"),
        ("/dev/ctl", "/dev/ctl", "rwm"),
        ("/dev/npu1", "/dev/npu1", "rw"),
    )
    assert options.binds == (("/opt/vendor", "/opt/vendor", True), ("/run/vendor", "/run/vendor", False))
    assert options.env == {"VENDOR": "1", "PATHS": "a=b", "NIC": "all"}
    assert options.groups == (44,)
    assert found.hooks == ("/usr/bin/tool update-ldcache",)


def test_what_was_made_at_the_start_goes_before_what_was_put_in_by_hand(specs: Any, host: Any) -> None:
    device = {"name": "0", "containerEdits": {"env": ["FROM=run"]}}
    spec = {"cdiVersion": "0.5.0", "kind": "vendor.example/npu", "devices": [device]}
    host.write({"/var/run/cdi/vendor.json": json.dumps(spec)})
    assert resolve(["vendor.example/npu=0"], specs).options.env == {"FROM": "run"}
    assert resolve(["vendor.example/npu=1"], specs).options.env["VENDOR"] == "1"


def test_a_name_that_no_file_has_is_said(specs: Any, tmp_path: Any) -> None:
    with pytest.raises(DeviceFault, match=r"vendor\.example/npu=7: no file in /etc/cdi or /var/run/cdi describes it"):
        resolve(["vendor.example/npu=7"], specs)
    with pytest.raises(DeviceFault, match="no file"):
        resolve(["vendor.example/npu=0"], tmp_path / "empty")


def test_a_name_that_two_files_have_is_not_guessed(specs: Any, host: Any) -> None:
    host.write({"/etc/cdi/again.json": json.dumps(_SPEC)})
    with pytest.raises(DeviceFault, match="two files of one folder"):
        resolve(["vendor.example/npu=0"], specs)


def test_devices_that_want_one_path_differently_conflict(specs: Any, host: Any) -> None:
    device = {"name": "x", "containerEdits": {"deviceNodes": [{"path": "/dev/npu0", "hostPath": "/dev/else"}]}}
    host.write({"/etc/cdi/else.json": json.dumps({"kind": "else.example/npu", "devices": [device]})})
    with pytest.raises(OptionConflict, match="/dev/npu0 is to be /dev/vendor/npu3"):
        resolve(["vendor.example/npu=0", "else.example/npu=x"], specs)
