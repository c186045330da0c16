/** Usage by day, week and month; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const usage = require('../lib/test/usage.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };

function settingsOf(answer, asked = []) {
  const fetch = async request => {
    const url = new URL(request.url);
    asked.push([url.pathname, ...['start', 'end', 'scope'].map(name => url.searchParams.get(name))].join(' '));
    return new Response(JSON.stringify(answer(url)), { status: 200 });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

const day = (date, core_hours) => ({ date, core_hours, gib_hours: 2 * core_hours, gpu_hours: 0 });

test('days, weeks from Monday, and months, in UTC, also across years', () => {
  const now = new Date('2026-01-04T23:59:00Z'); // a Sunday
  const ends = step => {
    const begins = usage.beginsUntil(now, step);
    return [begins.length, begins[0], begins[begins.length - 2], begins[begins.length - 1]];
  };
  assert.deepStrictEqual(ends('day'), [30, '2025-12-06', '2026-01-03', '2026-01-04']);
  assert.deepStrictEqual(ends('week'), [12, '2025-10-13', '2025-12-22', '2025-12-29']);
  assert.deepStrictEqual(ends('month'), [12, '2025-02-01', '2025-12-01', '2026-01-01']);
});

test('what was held is summed from each beginning to the next', () => {
  const days = [day('2025-12-28', 1), day('2025-12-29', 2), day('2026-01-04', 3.5)];
  const sums = usage.sumFrom(['2025-12-22', '2025-12-29'], days);
  assert.deepStrictEqual(sums, [day('2025-12-22', 1), day('2025-12-29', 5.5)]);
  assert.strictEqual(
    usage.csvOf([day('2025-12-29', 1 / 3)]),
    'date,core_hours,gib_hours,gpu_hours\r\n2025-12-29,0.33,0.67,0\r\n'
  );
});

test('what is asked for is of the chosen time and scope', async () => {
  const asked = [];
  const model = new usage.Usage(
    settingsOf(() => ({ days: [day('2026-01-04', 4)] }), asked),
    () => new Date('2026-01-04T12:00:00Z')
  );
  assert.strictEqual((await model.ask()).at(-1).core_hours, 4);
  model.show('month', 'p');
  assert.strictEqual(model.value, null);
  assert.deepStrictEqual((await model.ask()).at(-1), day('2026-01-01', 4));
  assert.deepStrictEqual(asked, [
    '/bai/api/usage 20251206 20260104 me',
    '/bai/api/usage 20250201 20260104 p'
  ]);
  model.dispose();
});

test('only admins may look at others', async () => {
  const as = role =>
    settingsOf(url =>
      url.pathname.endsWith('status')
        ? { user: { id: 'u', role } }
        : { items: [{ id: 'p', name: 'nlp', domain_name: 'lab' }], total: 1 }
    );
  const values = async role => (await usage.scopesOf(as(role), trans)).map(([, label]) => label);
  assert.deepStrictEqual(await values('user'), ['me']);
  assert.deepStrictEqual(await values('admin'), ['me', 'my domain', 'project lab/nlp']);
  assert.deepStrictEqual(await values('superadmin'), ['me', 'everybody', 'project lab/nlp']);
});

test('the cursor of a chart is moved by keys and by the pointer, and stays in it', () => {
  const from = (key, at) => usage.pointAfter(key, at, 30);
  assert.deepStrictEqual(
    [from('ArrowLeft', null), from('ArrowLeft', 5), from('ArrowLeft', 0), from('ArrowRight', null), from('ArrowRight', 5), from('ArrowRight', 29)],
    [29, 4, 0, 29, 6, 29]
  );
  assert.deepStrictEqual([from('Home', 7), from('End', 7), from('Enter', 7), from('t', 7)], [0, 29, null, null]);
  assert.deepStrictEqual([-1, 0, 9.9, 10, 299, 300].map(x => usage.pointAt(x, 300, 30)), [0, 0, 0, 1, 29, 29]);
});

test('which sessions held most, in days up to now, and how they are asked for', async () => {
  const asked = [];
  const costs = new usage.Costs(settingsOf(() => ({ sessions: [], total_count: 0 }), asked), () => new Date('2026-03-02T10:00:00Z'));
  await costs.ask();
  costs.show(30, 'all');
  await costs.ask();
  assert.deepStrictEqual(asked, ['/bai/api/usage/sessions 20260224 20260302 me', '/bai/api/usage/sessions 20260201 20260302 all']);
  const row = { session_id: 's', name: 'train', image: 'python', access_key: 'AKIA', core_hours: 1 / 3, gib_hours: 2, gpu_hours: 0 };
  const shownBy = table => table.columns.map(({ text }) => text(row));
  assert.deepStrictEqual(shownBy(usage.costTable(true, trans)), ['train', 'python', '0.33', '2', '0']);
  assert.deepStrictEqual(shownBy(usage.costTable(false, trans)), ['train', 'python', '0.33', '2', '0', 'AKIA']);
  assert.deepStrictEqual([true, false].map(isOwn => usage.costTable(isOwn, trans).session(row).owner), [undefined, 'AKIA']);
  costs.dispose();
});
