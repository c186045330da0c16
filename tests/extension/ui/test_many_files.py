"""A directory of very many files in Lab's own file browser: one page of it at a time."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from real_manager import RealManager

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SHOWN = 500


@pytest.fixture
def page(browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    page = open_lab(browser, lab)
    yield page
    page.close()


def fill(folder: Path, count: int) -> None:
    """A file has at most some 65,000 names."""
    for number in range(count):
        if number % 50_000 == 0:
            source = folder / f"f{number:06}"
            source.touch()
        else:
            os.link(source, folder / f"f{number:06}")


def browse(page: Page, path: str) -> None:
    page.evaluate("path => window.jupyterapp.commands.execute('bai:browse-folders', {path})", path)


@pytest.mark.parametrize("count", [1_200, pytest.param(100_000, marks=pytest.mark.soak)])
def test_all_of_very_many_files_are_reached_by_page_and_by_name(
    page: Page, cluster: RealManager, look_at: Any, count: int
) -> None:
    cluster.ask("POST", "/folders", {"name": f"many{count}"})
    cluster.ask("POST", f"/folders/many{count}/mkdir", {"path": f"deep{count}"})
    (lying,) = cluster.folder.rglob(f"deep{count}")
    fill(lying, count)
    browse(page, f"many{count}/deep{count}")
    browser = page.locator("#bai-file-browser")
    items = browser.locator(".jp-DirListing-item")
    pages = browser.get_by_role("group", name="Pages")
    expect(pages.get_by_role("status")).to_have_text(f"1 to 500 of {count:,}")
    expect(items).to_have_count(SHOWN)
    pages.get_by_role("button", name="Next").click()
    expect(items.first).to_contain_text("f000500")
    page.evaluate("document.querySelector('#bai-file-browser .jp-DirListing-content').scrollTo(0, 1e6)")
    expect(items.last).to_be_in_viewport()
    look_at(page, "many-files", ".jp-bai-Pager", whole=True)
    find = pages.get_by_role("searchbox", name="Find in all pages")
    find.fill(f"{count - 1}")
    find.press("Enter")
    expect(items).to_have_count(1)
    expect(items).to_contain_text(f"f{count - 1:06}")
    expect(pages.get_by_role("status")).to_have_text("1 to 1 of 1")
    find.fill("")
    expect(pages.get_by_role("status")).to_have_text(f"1 to 500 of {count:,}")

    pages.get_by_role("button", name="Next").click()
    expect(items.first).to_contain_text("f000500")
    browse(page, f"many{count}")
    expect(items).to_have_count(1)
    expect(pages).to_be_hidden()
    browse(page, f"many{count}/deep{count}")
    expect(pages.get_by_role("status")).to_have_text(f"1 to 500 of {count:,}")
