"""What a scientist does in the first ten minutes, in a real browser, on containers."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

SECONDS = 1000


def test_first_notebook(lab: Any, up: Any) -> None:
    lab.new_notebook("bai/python-minimal")
    hostname, folder, uid = lab.run("import socket, os; print(socket.gethostname(), os.getcwd(), os.getuid())").split()
    assert hostname in up.bai("session", "list").lower()
    assert folder == "/home/work/home"
    assert uid != "0"

    lab.run("import ipywidgets; slider = ipywidgets.IntSlider(value=3); slider")
    handle = lab.page.locator(".widget-slider .noUi-handle").first
    handle.wait_for(timeout=60 * SECONDS)
    handle.focus()
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("ArrowRight")
    expect(lab.page.locator(".widget-readout").first).to_have_text("5")
    assert lab.run("print(slider.value)") == "5\n"

    lab.run("from IPython.display import Image, SVG; SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')")
    expect(lab.page.locator(".jp-OutputArea-output svg, .jp-OutputArea-output img").first).to_be_attached()

    lab.run("x = 1")
    lab.start("while True: pass")
    expect(lab.page.locator("#jp-main-statusbar")).to_contain_text("| Busy", timeout=30 * SECONDS)
    lab.page.locator(
        '[data-command="notebook:interrupt-kernel"], .jp-ToolbarButtonComponent[title*="Interrupt"]'
    ).first.click()
    lab.until_idle()
    expect(lab.page.locator(".jp-OutputArea-output", has_text="KeyboardInterrupt").first).to_be_visible()
    assert lab.run("print(x)") == "1\n"

    lab.page.locator('.jp-ToolbarButtonComponent[title*="Restart the kernel"]').first.click()
    lab.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    time.sleep(0.5)
    lab.until_idle()
    assert "NameError" in lab.run("print(x)")
    assert len(up.bai("session", "list", "-q").split()) == 1


@pytest.mark.parametrize("count", [6_000, pytest.param(30_000, marks=pytest.mark.soak)])
def test_nothing_is_lost_in_an_open_page(lab: Any, up: Any, count: int) -> None:
    """Server, manager, agent and relay are killed in turn while a cell prints; the page has every line.

    Once, but for the message that the server was writing when it was killed: that one may come again.
    """
    lab.new_notebook("bai/python-minimal")
    lab.run("before = 'kept'")
    lab.start(f"import time\nfor i in range({count}):\n    print(i, flush=True)\n    if i % 10 == 0: time.sleep(0.01)")
    for victim in ("lab", "manager", "agent"):
        time.sleep(1)
        up.kill(victim)
    time.sleep(1)
    up.kill_relay_worker()
    cell = lab.page.locator(".jp-Notebook .jp-Cell").nth(1)
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=200 * SECONDS)
    shown = lab.outputs(1).split()
    assert list(dict.fromkeys(shown)) == [str(i) for i in range(count)]
    assert len(shown) <= count + 1
    assert lab.run("print(before, i)") == f"kept {count - 1}\n"
