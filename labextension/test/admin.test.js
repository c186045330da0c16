/** The lists of superadmins; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { AdminList, PAGE } = require('../lib/test/admin.js');
const { tablesOf } = require('../lib/test/adminTables.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };

/** `answer(method, path, query, body)` → what the server says; what was asked is in `asked`. */
function settingsOf(answer, asked = []) {
  const fetch = async request => {
    const url = new URL(request.url);
    const body = request.method === 'GET' ? null : await request.text();
    asked.push([request.method, url.pathname, url.searchParams, body]);
    const said = answer(url.searchParams);
    return new Response(said && JSON.stringify(said), { status: said ? 200 : 204 });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

test('a list is turned by pages, and a search begins at its beginning', async () => {
  const total = 2 * PAGE + 1;
  const list = new AdminList(
    settingsOf(query => ({ items: [{ name: `from ${query.get('offset')} with ${query.get('text')}` }], total })),
    'users'
  );
  assert.deepStrictEqual(await list.ask(), { items: [{ name: 'from 0 with ' }], total, offset: 0 });
  list.turn(2);
  assert.strictEqual((await list.ask()).offset, 2 * PAGE);
  list.search('kim');
  assert.deepStrictEqual((await list.ask()).items, [{ name: 'from 0 with kim' }]);
  list.turn(-1);
  assert.strictEqual((await list.ask()).offset, 0);
  list.dispose();
});

test('when the rows of the last page are gone, the one before is shown', async () => {
  const list = new AdminList(
    settingsOf(query => ({ items: Number(query.get('offset')) < PAGE ? [{ name: 'a' }] : [], total: PAGE })),
    'sessions'
  );
  list.turn(1);
  assert.strictEqual((await list.ask()).offset, 0);
  list.dispose();
});

const tables = Object.fromEntries(tablesOf(trans).map(table => [table.name, table]));
const textOf = (table, label, row) => tables[table].columns.find(column => column.label === label).text(row);

test('an agent is ready, drained or away, and only the one of both is offered', () => {
  const ready = { name: 'lab-1', status: 'ALIVE', schedulable: true };
  const drained = { ...ready, schedulable: false };
  const offered = row => tables.agents.actions.map(action => action.label(row)).filter(Boolean);
  assert.deepStrictEqual([ready, drained, { ...ready, status: 'LOST' }].map(row => textOf('agents', 'State', row)), [
    'Ready',
    'Draining',
    'Unreachable'
  ]);
  assert.deepStrictEqual([offered(ready), offered(drained)], [['Drain lab-1'], ['Resume lab-1']]);
  const use = tables.agents.columns.find(column => column.uses).uses({ slots: { cpu: '8' }, used: { cpu: '2' } });
  assert.deepStrictEqual(use.map(one => one.text), ['2 of 8 CPU']);
  const gpu = { kind: 'cuda', model: 'H200', health: 'ok', figures: { util_pct: 41.6 } };
  assert.strictEqual(textOf('agents', 'Devices', { devices: [{ kind: 'cpu' }, gpu, { ...gpu, figures: null }] }), 'H200 42 %, H200');
});

test('what is over cannot be ended again, and a session says why it waits', () => {
  const row = { name: 'demo', session_id: 's', status: 'PENDING', status_data: '{"reason": {"code": "queued", "text": "3rd."}}' };
  assert.strictEqual(textOf('queue', 'State', row), '3rd.');
  assert.strictEqual(textOf('sessions', 'Resources', { requested_slots: '{"cpu": "2"}' }), '2 CPU');
  const [end] = tables.sessions.actions;
  assert.deepStrictEqual([end.label(row), end.label({ ...row, status: 'TERMINATED' })], ['End demo', '']);
});

test('a keypair is switched off and on', async () => {
  const asked = [];
  const list = new AdminList(settingsOf(() => null, asked), 'keypairs');
  const [off, on] = tables.keypairs.actions;
  assert.deepStrictEqual([off.label({ is_active: false }), on.label({ is_active: true })], ['', '']);
  await off.run(settingsOf(() => null, asked), { access_key: 'AKIA' });
  const [method, path, , body] = asked[0];
  assert.deepStrictEqual([method, path, body], ['PATCH', '/bai/api/admin/keypairs/AKIA', '{"is_active":false}']);
  list.dispose();
});

test('limits of policies in words', () => {
  assert.deepStrictEqual(
    [0, 1200, 7200].map(idle_timeout => textOf('policies', 'Stopped when idle for', { idle_timeout })),
    ['no limit', '20 min', '2 h']
  );
  assert.deepStrictEqual(
    ['{}', null, '{"cpu": "4"}'].map(total_resource_slots => textOf('policies', 'Limits', { total_resource_slots })),
    ['no limit', 'no limit', '4 CPU']
  );
});
