/** What *My Environments* says of one's images, and does to one; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { environmentTable } = require('../lib/test/environments.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };

const NAME = 'bai-user/nia-1b2c3d4e/my-work:20260131-120000';
const MINE = { name: NAME, size_bytes: 2 * 1024 ** 3, base: 'bai/python:3.11', created_at: '2026-01-31T12:00:00+00:00' };

function settingsOf(status, body, asked) {
  const fetch = async request => {
    asked.push(`${request.method} ${decodeURIComponent(new URL(request.url).pathname)}`);
    return new Response(body && JSON.stringify(body), { status });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

test('what is said of one, also if nobody wrote down what it was made from', () => {
  const [name, size, base] = environmentTable(() => {}, async () => {}, trans).columns;
  assert.deepStrictEqual([name, size, base].map(one => one.text(MINE)), [NAME, '2 GiB', 'bai/python:3.11']);
  assert.strictEqual(base.text({ ...MINE, base: null }), 'not known');
});

test('its name is copied, and it is deleted after a question', async () => {
  const [asked, copied] = [[], []];
  let removed = 0;
  const table = environmentTable(name => copied.push(name), async () => void (removed += 1), trans);
  const [copy, remove] = table.actions;
  await copy.run(settingsOf(204, null, asked), MINE);
  assert.deepStrictEqual([copied, asked, copy.confirm], [[NAME], [], undefined]);
  assert.match(remove.confirm, /is gone/);
  await remove.run(settingsOf(204, null, asked), MINE);
  assert.deepStrictEqual([asked, removed], [[`DELETE /bai/api/environments/${NAME}`], 1]);
  await assert.rejects(remove.run(settingsOf(400, { code: 'image-in-use', message: 'In use by demo.' }, asked), MINE), /demo/);
  assert.strictEqual(removed, 1);
});
