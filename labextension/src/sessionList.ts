/** The list of sessions in the panel: which of them are shown. Pure. */

import { ISession } from './api';

/** As many are seen as a whole. */
const HANDFUL = 5;

/** Whether a list is so long that it helps to filter it. */
export function isLong(list: ISession[]): boolean {
  return list.length > HANDFUL;
}

/** Those that have each word of a text in their name, in their environment or in the word of their state. */
export function sessionsWith(text: string, list: ISession[], stateOf: (session: ISession) => string): ISession[] {
  const words = text.toLowerCase().split(/\s+/);
  return list.filter(session => {
    const said = [session.name, session.image, stateOf(session)].join('\n').toLowerCase();
    return words.every(word => said.includes(word));
  });
}
