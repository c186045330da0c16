/** What a link into Lab asks for, in its address: `…/lab?bai-import=URL`. */

const PARAMETER = 'bai-import';

/** The address of the notebook that is to be offered for import, taken out of the page's: a reload asks no more. */
export function takeAsked(location: Location, history: History): string | null {
  const { address, asked } = split(location.href);
  if (asked !== null) {
    history.replaceState(history.state, '', address);
  }
  return asked;
}

/** Markdown of a badge that opens a notebook's address in a Lab, for whoever reads it in a README. */
export function badgeFor(lab: string, notebook: string): string {
  const link = `${lab}?${PARAMETER}=${encodeURIComponent(notebook).replace(/[()]/g, one => (one === '(' ? '%28' : '%29'))}`;
  return `[![Open in JupyterLab](https://img.shields.io/badge/open_in-JupyterLab-orange)](${link})`;
}

/** Where a Lab is: behind a Hub each reader's own. */
export function labUrl(baseUrl: string, hubHost: string, hubPrefix: string): string {
  return hubPrefix
    ? new URL(`${hubPrefix.replace(/\/$/, '')}/user-redirect/lab`, hubHost || baseUrl).href
    : new URL('lab', baseUrl).href;
}

/** The rest of a page's address stays as it was. */
export function split(href: string): { address: string; asked: string | null } {
  const url = new URL(href);
  const asked = url.searchParams.get(PARAMETER);
  const isOther = (pair: string) => !new URLSearchParams(pair).has(PARAMETER);
  const query = url.search.slice(1).split('&').filter(isOther).join('&');
  url.search = query;
  return { address: url.href, asked: asked || null };
}
