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

/** The rest of a page's address stays as it was. */
export function split(href: string): { address: string; asked: string | null } {
  const url = new URL(href);
  const asked = url.searchParams.get(PARAMETER);
  const isOther = (pair: string) => !new URLSearchParams(pair).has(PARAMETER);
  const query = url.search.slice(1).split('&').filter(isOther).join('&');
  url.search = query;
  return { address: url.href, asked: asked || null };
}
