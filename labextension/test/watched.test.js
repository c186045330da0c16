/** What is asked again and again is asked while somebody looks, and not more often than every two seconds. */

const assert = require('node:assert');
const { test } = require('node:test');

/** The page, which lumino's polls look for when they are loaded; for all else there is none. */
const page = Object.assign(new EventTarget(), { visibilityState: 'visible' });
globalThis.document = page;
require('@lumino/polling');
delete globalThis.document;

const { ServerConnection } = require('@jupyterlab/services');

const { AdminList } = require('../lib/test/admin.js');
const { Announcement } = require('../lib/test/announcements.js');
const { Folders, Files } = require('../lib/test/folders.js');
const { Health } = require('../lib/test/health.js');
const { Apps, Capacity, SessionLog, Sessions } = require('../lib/test/model.js');

const { Costs } = require('../lib/test/usage.js');
const { ServerVersion } = require('../lib/test/versions.js');

const LEAST_MS = 2000;

/** Let go on what waits for nothing but its turn. */
async function turns() {
  for (let turn = 0; turn < 50; turn++) {
    await new Promise(setImmediate);
  }
}

function show(state) {
  globalThis.document = page;
  page.visibilityState = state;
  page.dispatchEvent(new Event('visibilitychange'));
  delete globalThis.document;
}

function modelsOf(settings) {
  const sessions = new Sessions(settings);
  return [sessions, new SessionLog(settings, 's'), new ServerVersion(settings), new Apps(settings, sessions), new Capacity(settings), new Folders(settings), new Files(settings), new AdminList(settings, 'users'), new Health(settings), new Costs(settings), new Announcement(settings, { getItem: () => null })];
}

test('nothing is asked while nobody looks, or while the page is hidden, nor ever faster than every two seconds', async t => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let asked = 0;
  const fetch = async () => {
    asked += 1;
    return new Response(JSON.stringify({ sessions: [], logs: '', versions: { extension: '0.1.0' }, folders: [], invitations: [], apps: [], items: [], total: 0, user: { id: 'u' } }));
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  const pass = async ms => {
    await turns();
    t.mock.timers.tick(ms);
    await turns();
  };
  for (const model of modelsOf(settings)) {
    const name = model.constructor.name;
    asked = 0;
    await pass(60_000);
    assert.strictEqual(asked, 0, `${name}: nobody looks`);

    let answers = 0;
    model.changed.connect(() => (answers += 1));
    model.watch();
    await pass(0);
    assert.strictEqual(answers, 1, `${name}: at once`);
    await pass(LEAST_MS - 1);
    assert.strictEqual(answers, 1, `${name}: not so soon again`);
    await pass(60_000);
    assert.strictEqual(answers, 2, `${name}: then again`);

    show('hidden');
    await pass(60_000);
    await pass(60_000);
    assert.strictEqual(answers, 2, `${name}: the page is hidden`);
    show('visible');

    model.unwatch();
    asked = 0;
    await pass(60_000);
    await pass(60_000);
    assert.strictEqual(asked, 0, `${name}: nobody looks any more`);
    model.dispose();
  }
});
