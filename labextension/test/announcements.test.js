/** What admins tell everybody; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { Announcement } = require('../lib/test/announcements.js');

test('it is shown until it is dismissed, and again once it is another', async () => {
  let message = '';
  const fetch = async () => new Response(JSON.stringify({ message }));
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  const kept = new Map();
  const keep = { getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const model = new Announcement(settings, keep);
  const shown = async text => {
    message = text;
    await model.ask();
    return model.text;
  };
  assert.deepStrictEqual([await shown(''), await shown('Monday.')], ['', 'Monday.']);
  model.dismiss();
  assert.deepStrictEqual([await shown('Monday.'), await shown('Tuesday.')], ['', 'Tuesday.']);
  const other = new Announcement(settings, keep);
  message = 'Monday.';
  await other.ask();
  assert.strictEqual(other.text, ''); // another page of the same browser
  model.dispose();
  other.dispose();
});
