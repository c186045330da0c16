"""What a scientist does in the first ten minutes, in a real browser, on containers."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

SECONDS = 1000
MANY = [6_000, pytest.param(30_000, marks=[pytest.mark.soak, pytest.mark.timeout(1500)])]
"""Lines of a cell. A page draws what it has missed as fast as its machine allows."""


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
    # The page sends the last value once the kernel has taken the one before, which may be after the next cell.
    assert any(lab.run("print(slider.value)") == "5\n" for _ in range(20))

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


@pytest.mark.parametrize("count", MANY)
def test_nothing_is_lost_in_an_open_page(lab: Any, up: Any, count: int) -> None:
    """Server, manager, agent and relay are killed in turn while a cell prints; the page has every line once."""
    lab.new_notebook("bai/python-minimal")
    lab.run("before = 'kept'")
    lab.start(printing(count))
    for victim in ("lab", "manager", "agent"):
        time.sleep(1)
        up.kill(victim)
    time.sleep(1)
    up.kill_relay_worker()
    cell = lab.page.locator(".jp-Notebook .jp-Cell").nth(1)
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=count / 30 * SECONDS)
    assert lab.outputs(1) == lines(count)
    assert lab.run("print(before, i)") == f"kept {count - 1}\n"


@pytest.mark.parametrize("count", MANY)
def test_a_reload_in_the_middle_of_a_cell_shows_all_of_it(lab: Any, up: Any, count: int) -> None:
    lab.new_notebook("bai/python-minimal")
    lab.run("before = 'kept'")
    kernel_id = lab.kernel_id()
    lab.start(printing(count))
    lab.start("input('name? ')")
    expect(lab.cell(1)).to_contain_text("100\n")
    until(lambda: "name? " in (up.data / "home" / "Untitled.ipynb").read_text())
    up.kill("lab")
    lab.reload()
    up.kill("agent")
    up.kill_relay_worker()
    # The file knows the cell's number already, and the question comes by a way of its own.
    expect(lab.cell(1)).to_contain_text(f"{count - 1}\n", timeout=count / 30 * SECONDS)
    expect(lab.cell(1).locator(".jp-InputPrompt")).to_have_text("[2]:", timeout=60 * SECONDS)
    prompt = lab.cell(2).locator("input.jp-Stdin-input")
    prompt.wait_for(timeout=60 * SECONDS)
    until(lambda: lab.outputs(1) == lines(count))  # a file that had all of it is shown first, and then read again
    assert lab.kernel_id() == kernel_id
    prompt.fill("Kim")
    prompt.press("Enter")
    expect(lab.cell(2).locator(".jp-InputPrompt")).to_have_text("[3]:", timeout=60 * SECONDS)
    expect(lab.cell(2)).to_contain_text("'Kim'")
    assert lab.run("print(before, i)") == f"kept {count - 1}\n"


def test_what_ran_while_no_page_was_open_is_there_once(lab: Any, up: Any) -> None:
    """Closed in the middle of a cell, opened after its end; then saved, and opened again: nothing comes twice."""
    lab.new_notebook("bai/python-minimal")
    lab.start(printing(2_000) + "\nopen('done', 'w').close()")
    expect(lab.cell(0)).to_contain_text("100\n")
    lab.leave()
    until((up.data / "home" / "done").exists)
    lab.come_back()
    expect(lab.cell(0)).to_contain_text("1999\n", timeout=60 * SECONDS)
    expect(lab.cell(0).locator(".jp-InputPrompt")).to_have_text("[1]:", timeout=60 * SECONDS)
    assert lab.outputs(0) == lines(2_000)
    lab.save()
    count = len(json.loads((up.data / "home" / "Untitled.ipynb").read_text())["cells"])
    lab.reload()
    expect(lab.page.locator(".jp-Notebook .jp-Cell")).to_have_count(count)
    expect(lab.cell(0)).to_contain_text("1999\n")
    assert lab.run("print('after')") == "after\n"
    assert lab.outputs(0) == lines(2_000)


def test_a_connection_that_breaks_in_the_middle_of_a_cell_costs_no_line(lab_over_wire: Any, wire: Any, up: Any) -> None:
    """Silent for a while and then cut off, so that lines are lost on the way; a question asked meanwhile is asked."""
    lab = lab_over_wire
    lab.new_notebook("bai/python-minimal")
    lab.start(printing(3_000) + "\n    if i == 1500: open('half', 'w').close()")
    lab.start("input('name? ')")
    expect(lab.cell(0)).to_contain_text("100\n")
    with wire.silent():
        until((up.data / "home" / "half").exists)
    expect(lab.cell(0).locator(".jp-InputPrompt")).to_have_text("[1]:", timeout=60 * SECONDS)
    prompt = lab.cell(1).locator("input.jp-Stdin-input")
    prompt.wait_for(timeout=60 * SECONDS)
    assert lab.outputs(0) == lines(3_000)
    prompt.fill("Kim")
    prompt.press("Enter")
    expect(lab.cell(1)).to_contain_text("'Kim'")
    assert lab.run("print(i)") == "2999\n"
    assert lab.outputs(0) == lines(3_000)


def printing(count: int) -> str:
    return f"import time\nfor i in range({count}):\n    print(i, flush=True)\n    if i % 10 == 0: time.sleep(0.01)"


def lines(count: int) -> str:
    return "".join(f"{i}\n" for i in range(count))


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
