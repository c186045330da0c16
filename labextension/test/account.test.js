/** What *My Account* says and asks; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const account = require('../lib/test/account.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };

const ME = {
  email: 'nia@example.org',
  full_name: null,
  role: 'admin',
  domain_name: 'physics',
  resource_policy: 'default',
  projects: [],
  keypairs: [],
  ssh_fingerprint: 'SHA256:old'
};

function settingsOf(answer, asked = []) {
  const fetch = async request => {
    const { pathname, searchParams } = new URL(request.url);
    const query = ['offset', 'limit'].map(name => searchParams.get(name)).filter(Boolean);
    asked.push([request.method, pathname, ...query, await request.text()].join(' ').trim());
    const { status = 200, body } = answer(pathname, request.method) ?? {};
    return new Response(body === undefined ? null : JSON.stringify(body), { status: body === undefined ? 204 : status });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

test('who one is, without what is not known', () => {
  assert.deepStrictEqual(account.factsOf(ME, trans), [
    ['E-mail', 'nia@example.org'],
    ['Role', 'admin of the domain'],
    ['Domain', 'physics'],
    ['Projects', 'none'],
    ['Policy', 'default']
  ]);
  assert.deepStrictEqual(account.factsOf({ ...ME, full_name: 'Nia', projects: ['a', 'b'] }, trans).slice(1, 5), [
    ['Name', 'Nia'],
    ['Role', 'admin of the domain'],
    ['Domain', 'physics'],
    ['Projects', 'a, b']
  ]);
});

test('of a keypair its key, and whether it is the one in use here; nothing can be done to it', () => {
  const table = account.keypairTable(trans);
  const state = row => table.columns[1].text(row);
  assert.deepStrictEqual(
    [{ is_used: true, is_active: true }, { is_active: true }, { is_active: false }].map(state),
    ['in use here', 'active', 'inactive']
  );
  assert.strictEqual(table.columns[3].text({ last_used: null }), 'never');
  assert.deepStrictEqual(table.actions, []);
});

test('how it went, in words', () => {
  assert.deepStrictEqual(
    [200, 204, 302, 401, 404, 500].map(status => account.resultOf(status, trans)),
    ['done', 'done', 'done', 'refused (401)', 'refused (404)', 'failed (500)']
  );
});

test('a new SSH keypair says what it replaces, and its private key is told once', async () => {
  const made = { fingerprint: 'SHA256:new', public_key: 'ssh-ed25519 AAAA\n', private_key: 'PRIVATE\n' };
  const settings = settingsOf(() => ({ status: 201, body: made }));
  const edit = account.newSshKeypairEdit(settings, ME, trans);
  assert.match(edit.notes[0], /SHA256:old/);
  assert.strictEqual(account.newSshKeypairEdit(settings, { ...ME, ssh_fingerprint: null }, trans).notes.length, 1);
  const told = await edit.run({});
  assert.deepStrictEqual(told.facts[2], ['Private key', 'PRIVATE']);
  assert.deepStrictEqual(told.taken, { name: 'id_ed25519', text: 'PRIVATE\n' });
});

test('dotfiles are made, changed with what they hold, and deleted', async () => {
  const asked = [];
  const held = { path: '.config/a b', permission: '600', data: 'one\n' };
  const settings = settingsOf((_, method) => (method === 'GET' ? { body: held } : undefined), asked);
  const { addition, actions } = account.dotfileTable(settings, trans);
  await addition.edit().run({ path: '.vimrc', permission: '644', data: '' });
  const change = await actions[0].edit(null, held);
  assert.deepStrictEqual(change.fields.map(one => one.value), ['600', 'one\n']);
  await change.run({ permission: '644', data: 'two' });
  await actions[1].run(settings, held);
  assert.deepStrictEqual(asked, [
    'POST /bai/api/account/dotfiles {"path":".vimrc","permission":"644","data":""}',
    'GET /bai/api/account/dotfiles/.config/a%20b',
    'PATCH /bai/api/account/dotfiles/.config/a%20b {"permission":"644","data":"two"}',
    'DELETE /bai/api/account/dotfiles/.config/a%20b'
  ]);
});

test('the log is turned page by page', async t => {
  const asked = [];
  const log = new account.AccessLog(settingsOf(() => ({ body: { items: [], total: 120 } }), asked));
  t.after(() => log.dispose());
  assert.deepStrictEqual(await log.ask(), { items: [], total: 120, offset: 0 });
  log.open(50);
  assert.strictEqual((await log.ask()).offset, 50);
  assert.ok(asked.includes('GET /bai/api/account/log 50 50'));
});

test('a script that is refused throws, and what was saved is shown', async t => {
  let saved = 'old';
  const settings = settingsOf((_, method) =>
    method === 'GET' ? { body: { script: saved } } : saved === 'full' ? { status: 400, body: { message: 'Too large.' } } : void (saved = 'full')
  );
  const script = new account.Bootstrap(settings);
  t.after(() => script.dispose());
  await script.save('full');
  assert.strictEqual(await script.ask(), 'full');
  await assert.rejects(script.save('more'), /Too large/);
});
