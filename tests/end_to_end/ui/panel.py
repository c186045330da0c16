"""Where things are in the panel, and in Lab around it."""

from playwright.sync_api import Locator, Page


def tab_of(page: Page, label: str) -> Locator:
    return page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=label)


def show(page: Page, side: str) -> None:
    """What is at the side."""
    if not page.locator(f"#{side}").is_visible():
        page.locator(f".jp-SideBar [data-id='{side}']").click()


def section(page: Page, name: str) -> Locator:
    """The named section, with all others closed."""
    for one in ("Sessions", "Folders", "Apps", "Resources"):
        title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=one)
        if (title.get_attribute("aria-expanded") == "true") != (one == name):
            title.click()
    title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=name)
    return page.locator(f"#jp-bai-panel .jp-bai-Section[aria-labelledby='{title.get_attribute('id')}']")


def with_actions(row: Locator, name: str) -> Locator:
    """The row, with what can be done shown."""
    button = row.get_by_role("button", name=f"Actions on {name}")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    return row


def session_of(page: Page, name: str) -> Locator:
    """Its row, with what can be done shown."""
    return with_actions(section(page, "Sessions").get_by_role("listitem").filter(has_text=name), name)
