"""How soon the Backend.AI panel shows what there is, once Lab is restored, in Chromium.

    python benchmarks/first_paint.py [--rounds 5]

A JupyterLab in front of a manager with one session and one folder; the panel was open when the page was left. Beside it
the same for Lab's own file browser, which lies open in another profile.
"""

import argparse
import asyncio
import shutil
from pathlib import Path

from jupyter_apps import jupyter
from playwright.async_api import Browser, async_playwright
from traffic import a_session, cluster_of, row

from bai_jupyter.client import ManagerClient

PANELS = {
    "Backend.AI panel": ("jp-bai-panel", ".jp-bai-Section [role=listitem], .jp-bai-Section li"),
    "Lab's file browser": ("filebrowser", ".jp-DirListing-item"),
}

WATCH = """selector => {
  const seen = () => {
    const node = document.querySelector(selector);
    return node !== null && node.getBoundingClientRect().height > 0;
  };
  window.painted = new Promise(resolve => {
    const look = () => seen() ? resolve(performance.now()) : requestAnimationFrame(look);
    look();
  });
}"""

WHEN = """async () => {
  const app = await new Promise(resolve => {
    const look = () => window.jupyterapp ? resolve(window.jupyterapp) : setTimeout(look, 1);
    look();
  });
  const restored = app.restored.then(() => performance.now());
  return (await window.painted) - (await restored);
}"""


async def measure(browser: Browser, url: str, panel: str, content: str, rounds: int) -> list[float]:
    """From Lab's being restored to the first entry, in ms; below 0: the entry was there before."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{url}&reset")
    await page.wait_for_function("window.jupyterapp !== undefined")
    await page.evaluate("window.jupyterapp.restored.then(() => undefined)")
    await page.evaluate("id => window.jupyterapp.shell.activateById(id)", panel)
    selector = ", ".join(f"#{panel} {one.strip()}" for one in content.split(","))
    await page.wait_for_selector(selector)
    async with page.expect_response(lambda answer: "/lab/api/workspaces/" in answer.url and answer.ok):
        pass  # Lab has written down what is open
    await page.add_init_script(f"({WATCH})({selector!r})")
    took = []
    for _ in range(rounds):
        await page.goto(url)
        took.append(float(await page.evaluate(WHEN)))
    await context.close()
    return sorted(took)


async def main(options: argparse.Namespace) -> None:
    async with cluster_of("process") as cluster, ManagerClient(cluster.config) as client, async_playwright() as tool:
        await client.create_folder("data", "local:data")
        await a_session(client)
        (cluster.folder / "a.txt").write_text("")
        async with jupyter(cluster.folder, cluster.environ, "jupyterlab", "--LabApp.expose_app_in_browser=True") as (
            port,
            _,
        ):
            arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
            browser = await tool.chromium.launch(executable_path=options.chromium, args=arguments)
            row("from restored to first entry", "fastest", "median", "slowest")
            for name, (panel, content) in PANELS.items():
                url = f"http://127.0.0.1:{port}/lab?token=benchmark"
                took = await measure(browser, url, panel, content, options.rounds)
                row(name, *(f"{took[place]:.0f} ms" for place in (0, len(took) // 2, -1)))
            await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium"), type=Path)
    asyncio.run(main(parser.parse_args()))
