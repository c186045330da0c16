// Faults of accessibility below one element, as sentences: what can be told without a library.
selector => {
  const faults = [];
  const root = document.querySelector(selector);
  if (!root) {
    return [`nothing matches ${selector}`];
  }
  const name = e => e.getAttribute('aria-label') || e.innerText.trim() || e.title;
  const show = e => `${e.tagName.toLowerCase()}.${e.className.toString().split(' ')[0]}`;
  const seen = e => e.getClientRects().length > 0;

  for (const e of root.querySelectorAll('button, [role=button], [role=progressbar], [role=region]')) {
    if (seen(e) && !name(e)) {
      faults.push(`${show(e)} has no name`);
    }
  }
  for (const e of root.querySelectorAll('[class*=jp-bai] button, button[class*=jp-bai]')) {
    const box = e.getBoundingClientRect();
    if (seen(e) && Math.min(box.width, box.height) < 24) {
      faults.push(`${show(e)} is ${box.width} x ${box.height}, less than 24`);
    }
  }
  for (const e of root.querySelectorAll('[aria-labelledby], [aria-describedby]')) {
    for (const id of `${e.getAttribute('aria-labelledby') ?? ''} ${e.getAttribute('aria-describedby') ?? ''}`.trim().split(/\s+/)) {
      if (!document.getElementById(id)) {
        faults.push(`${show(e)} refers to ${id}, which is not there`);
      }
    }
  }

  const rgb = text => (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) {
        return colour;
      }
    }
    return [255, 255, 255];
  };
  for (const e of [root, ...root.querySelectorAll('*')]) {
    const text = [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!text || !seen(e) || e.closest('.jp-bai-Announcer')) {
      continue;
    }
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) {
      faults.push(`${show(e)} "${e.innerText.slice(0, 20)}" has contrast ${contrast.toFixed(2)}`);
    }
  }
  return faults;
}
