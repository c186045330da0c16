"""Parts of AMD's GPUs, on cgroup trees made of files: no kernel with the controller and no GPU was near these tests."""

from decimal import Decimal
from pathlib import Path

import pytest
from bai_agent.devices.base import ContainerOptions
from bai_agent.shares.dmem import Dmem, region_of
from bai_agent.shares.holding import Holding, NotHeld
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml

from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots

PCI, OTHER = "0000:0c:00.0", "0000:2b:00.0"
LEAF = "system.slice/docker-abc.scope"
CARD = DeviceFacts(
    "aa", "rocm", "AMD MI300X", ResourceSlots({"rocm.shares": 1}), mem_bytes=1000 << 20, attributes={"pci": PCI}
)
HELD = {"rocm.shares": {"aa": Decimal("0.3")}}
LIMIT = f"drm/{PCI}/vram {300 << 20}"


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    """As the kernel shows them: two GPUs, and a container's cgroup that says of a third what is not ours."""
    root = tmp_path / "cgroup"
    leaf = root / LEAF
    leaf.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpuset cpu io memory dmem pids\n")
    (root / "dmem.capacity").write_text(f"drm/{PCI}/vram 1048576000\ndrm/{PCI}/stolen 67108864\ndrm/{OTHER}/vram 5\n")
    (root / "cgroup.subtree_control").write_text("cpu memory\n")
    (leaf.parent / "cgroup.subtree_control").write_text("cpu memory\n")
    (leaf / "dmem.max").write_text("drm/0000:ff:00.0/vram max\n")
    (leaf / "dmem.current").write_text(f"drm/{PCI}/stolen 7\ndrm/{PCI}/vram 12550144\n")
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "cgroup").write_text(f"0::/{LEAF}\n")
    return root


@pytest.fixture
def shares(cgroups: Path, tmp_path: Path) -> Holding:
    proc = tmp_path / "proc"
    return Holding(Enforcement.WATCH, Rule(), [CARD], tmp_path / "gpu", Nvml(), dmem=Dmem(cgroups), proc=proc)


def test_a_session_is_held_by_its_container_s_own_cgroup_before_anything_runs(
    shares: Holding, cgroups: Path, tmp_path: Path
) -> None:
    assert shares.prepare(tmp_path, HELD) == ContainerOptions()  # nothing is put before its programs
    shares.hold(tmp_path, HELD, 42)
    assert (cgroups / LEAF / "dmem.max").read_text() == LIMIT
    # Cgroups above hand the controller down; the container's own does not.
    assert [(cgroups / name / "cgroup.subtree_control").read_text() for name in (".", "system.slice")] == ["+dmem"] * 2
    assert not (cgroups / LEAF / "cgroup.subtree_control").exists()
    shares.let_go(HELD, 42)  # the limit ends with the cgroup
    assert (cgroups / LEAF / "dmem.max").read_text() == LIMIT


def test_its_owner_sees_what_it_holds_of_its_share(shares: Holding, cgroups: Path) -> None:
    told = {"rocm_mem_used_bytes": 12550144.0, "rocm_mem_total_bytes": float(300 << 20)}
    assert shares.figures(HELD, 42) == told
    assert shares.figures({"cpu": {"cpu": Decimal(1)}}, 42) == {}
    (cgroups / LEAF / "dmem.current").write_text("drm/0000:ff:00.0/vram 7\n")
    assert shares.figures(HELD, 42) == {}
    assert shares.figures(HELD, 43) == {}  # it has ended


def test_a_controller_that_is_handed_down_already_is_left_alone(shares: Holding, cgroups: Path, tmp_path: Path) -> None:
    for name in (".", "system.slice"):
        (cgroups / name / "cgroup.subtree_control").write_text("cpu dmem memory\n")
    shares.hold(tmp_path, HELD, 42)
    assert (cgroups / "cgroup.subtree_control").read_text() == "cpu dmem memory\n"


def test_a_limit_that_is_not_in_force_keeps_the_gate_shut(shares: Holding, cgroups: Path, tmp_path: Path) -> None:
    limit = cgroups / LEAF / "dmem.max"
    limit.unlink()
    limit.symlink_to("/dev/null")  # takes what is written and keeps nothing
    with pytest.raises(NotHeld, match=rf"the kernel has nothing bytes of drm/{PCI}/vram where {300 << 20} were set"):
        shares.hold(tmp_path, HELD, 42)
    limit.unlink()
    (cgroups / LEAF / "dmem.current").unlink()
    (cgroups / LEAF).rmdir()
    with pytest.raises(NotHeld, match=r"cannot be limited for /system\.slice/docker-abc\.scope: No such file"):
        shares.hold(tmp_path, HELD, 42)
    (tmp_path / "proc" / "42" / "cgroup").write_text("0::/\n")
    with pytest.raises(NotHeld, match="process 42 is in no cgroup of its own"):
        shares.hold(tmp_path, HELD, 42)


def test_a_gpu_that_is_gone_is_not_taken_for_another(shares: Holding, tmp_path: Path) -> None:
    with pytest.raises(NotHeld, match="bb is not a GPU of this host any more"):
        shares.hold(tmp_path, {"rocm.shares": {"bb": Decimal("0.3")}}, 42)


def test_what_a_session_holds_is_told(cgroups: Path) -> None:
    assert Dmem(cgroups).used(region_of(PCI), f"/{LEAF}") == 12550144
    assert Dmem(cgroups).used(region_of(OTHER), f"/{LEAF}") is None
    assert Dmem(cgroups).used(region_of(PCI), "/gone") is None


def test_what_a_host_lacks_is_told(cgroups: Path, tmp_path: Path) -> None:
    assert Dmem(cgroups).why_not(region_of(PCI)) == ""
    assert Dmem(cgroups).why_not("drm/0000:ff:00.0/vram").startswith("the GPU's driver does not tell the kernel")
    (cgroups / "cgroup.controllers").write_text("cpu memory\n")
    assert Dmem(cgroups).why_not(region_of(PCI)).startswith("the kernel has no dmem controller")
    assert "is not cgroup version 2" in Dmem(tmp_path).why_not(region_of(PCI))


def test_made_up_gpus_are_held_by_nothing(tmp_path: Path) -> None:
    mock = DeviceFacts("m", "mock", "Mock", ResourceSlots({"rocm.shares": 1}))
    shares = Holding(Enforcement.WATCH, Rule(), [mock], tmp_path, Nvml(), dmem=Dmem(tmp_path), proc=tmp_path)
    assert shares.limits({"rocm.shares": {"m": Decimal("0.5")}}) == []
