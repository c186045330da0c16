/** Copies of several things; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { copyAll, partOf, wayBetween } = require('../lib/test/copies.js');

/** `answer(asked, signal)` gives the status and the text of an answer. */
function settingsOf(answer) {
  const fetch = async (request, init) => {
    const [status, text] = await answer(await request.json(), request.signal);
    return new Response(text, { status });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

const transfer = (way, paths, directory, isMove = false) => ({ way, isMove, paths, directory });
const lines = (...all) => all.map(one => JSON.stringify(one) + '\n').join('');
const TAKEN = [400, '{"code": "file-exists", "message": "a exists already."}'];

function asker(names = []) {
  const steps = [];
  return { steps, tell: step => steps.push(step), otherName: async () => names.shift() ?? null };
}

test('each is copied and told of; a name that is taken is asked for, and what is refused holds nobody up', async () => {
  const asked = [];
  const settings = settingsOf(async what => {
    asked.push(what);
    if (what.path === 'w/taken' && what.name !== 'free') {
      return TAKEN;
    }
    if (what.path === 'w/broken') {
      return [200, lines({ done: 1, total: 2 }, { code: 'quota-reached', message: 'Full.' })];
    }
    return [200, lines({ done: 1, total: 2 }, { done: 2, total: 2 }, { path: `data/${what.name}`, left_out: 1 })];
  });
  const { steps, ...ask } = asker(['still taken', 'free']);
  const paths = ['w/a', 'w/taken', 'w/broken'];
  const outcome = await copyAll(settings, transfer('to-folder', paths, 'data'), ask, new AbortController().signal);
  assert.deepStrictEqual(outcome, { made: ['data/a', 'data/free'], skipped: 0, leftOut: 2, kept: [], refused: ['Full.'] });
  assert.deepStrictEqual(asked.map(one => one.name), ['a', 'taken', 'still taken', 'free', 'broken']);
  assert.deepStrictEqual(steps.slice(0, 3), [
    { name: 'a', place: 1, done: 0, total: 0 },
    { name: 'a', place: 1, done: 1, total: 2 },
    { name: 'a', place: 1, done: 2, total: 2 }
  ]);
});

test('a move asks for one, and hears of what is still where it was', async () => {
  const asked = [];
  const settings = settingsOf(async what => {
    asked.push([what.name, what.move]);
    return [200, lines({ path: `data/${what.name}`, left_out: 0, ...(what.name === 'b' && { kept: 'b is there.' }) })];
  });
  const move = transfer('to-folder', ['a', 'b'], 'data', true);
  const outcome = await copyAll(settings, move, asker(), new AbortController().signal);
  const made = ['data/a', 'data/b'];
  assert.deepStrictEqual(outcome, { made, skipped: 0, leftOut: 0, kept: ['b is there.'], refused: [] });
  assert.deepStrictEqual(asked, [['a', true], ['b', true]]);
});

test('who gives no other name leaves it out', async () => {
  const outcome = await copyAll(settingsOf(async () => TAKEN), transfer('to-server', ['d/a'], ''), asker(), new AbortController().signal);
  assert.deepStrictEqual(outcome, { made: [], skipped: 1, leftOut: 0, kept: [], refused: [] });
});

test('cancelled, the request ends and nothing follows', async () => {
  const aborter = new AbortController();
  let asked = 0;
  const settings = settingsOf((_, signal) => {
    asked += 1;
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted')));
      aborter.abort();
    });
  });
  const outcome = await copyAll(settings, transfer('to-folder', ['a', 'b'], 'data'), asker(), aborter.signal);
  assert.deepStrictEqual([asked, outcome], [1, { made: [], skipped: 0, leftOut: 0, kept: [], refused: [] }]);
});

test('an answer that breaks off is no copy', async () => {
  const settings = settingsOf(async () => [200, lines({ done: 1, total: 2 }) + '{"pa']);
  const outcome = await copyAll(settings, transfer('to-folder', ['a'], 'data'), asker(), new AbortController().signal);
  assert.deepStrictEqual(outcome.refused, ['The copy was broken off.']);
  const page = settingsOf(async () => [502, '<html>\n502</html>']);
  assert.deepStrictEqual((await copyAll(page, transfer('to-folder', ['a'], 'd'), asker(), new AbortController().signal)).refused, [
    'The server answered 502.'
  ]);
});

test('how far all of it is', () => {
  assert.strictEqual(partOf({ name: 'b', place: 2, done: 1, total: 2 }, 3), 0.5);
  assert.strictEqual(partOf({ name: 'b', place: 1, done: 0, total: 0 }, 1), 0);
});

test('what is dragged goes between folders and the own files of the server, and no other way', () => {
  const ways = [
    [['', ''], 'bai'],
    [['RTC'], 'bai'],
    [['bai'], ''],
    [['bai', ''], ''],
    [['bai'], 'bai'],
    [[''], ''],
    [[], '']
  ].map(([from, to]) => wayBetween(from, to, ''));
  assert.deepStrictEqual(ways, ['to-folder', null, 'to-server', null, null, null, null]);
  assert.strictEqual(wayBetween(['RTC'], 'bai', 'RTC'), 'to-folder');
});
