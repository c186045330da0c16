/** The lists of superadmins; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { AdminList, PAGE } = require('../lib/test/admin.js');
const { describeEffect, Edits } = require('../lib/test/adminEdits.js');
const { tablesFor } = require('../lib/test/adminTables.js');
const typed = require('../lib/test/typed.js');

const fill = (text, args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text);
const trans = { __: (text, ...args) => fill(text, args), _n: (one, many, n, ...args) => fill(n === 1 ? one : many, [n, ...args]) };

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

const tables = Object.fromEntries(tablesFor('superadmin', trans).map(table => [table.name, table]));
const textOf = (table, label, row) => tables[table].columns.find(column => column.label === label).text(row);

test('an agent is ready, drained or away, and only what can be done then is offered', () => {
  const ready = { name: 'lab-1', status: 'ALIVE', schedulable: true };
  const drained = { ...ready, schedulable: false };
  const offered = row => tables.agents.actions.map(action => action.label(row)).filter(Boolean);
  assert.deepStrictEqual([ready, drained, { ...ready, status: 'LOST' }].map(row => textOf('agents', 'State', row)), [
    'Ready',
    'Draining · empty',
    'Unreachable'
  ]);
  assert.deepStrictEqual([offered(ready), offered(drained)], [['Drain lab-1'], ['Resume lab-1']]);
  const left = { ...drained, sessions: 3 };
  assert.deepStrictEqual(offered(left), ['What is left on lab-1', 'Resume lab-1']);
  const at = hours => new Date(Date.now() + 3_600_000 * hours);
  const stateOf = row => textOf('agents', 'State', row);
  assert.strictEqual(stateOf(left), 'Draining · 3 sessions left');
  assert.match(stateOf({ ...left, sessions: 1, drain_by: at(1).toISOString() }), /^Draining · one session left, by .*\d/);
  assert.match(stateOf({ ...left, drain_by: at(-1).toISOString() }), /^Draining · 3 sessions left, which should have ended at .*\d/);
  const use = tables.agents.columns.find(column => column.uses).uses({ slots: { cpu: '8' }, used: { cpu: '2' } });
  assert.deepStrictEqual(use.map(one => one.text), ['2 of 8 CPU']);
  const gpu = { kind: 'cuda', model: 'H200', health: 'ok', figures: { util_pct: 41.6 } };
  assert.strictEqual(textOf('agents', 'Devices', { devices: [{ kind: 'cpu' }, gpu, { ...gpu, figures: null }] }), 'H200 42 %, H200');
});

/** What the server has under a path; it refuses to end `kept`. */
function clusterOf(found, asked) {
  const fetch = async request => {
    const { pathname } = new URL(request.url);
    asked.push([request.method, pathname.replace('/bai/api/', '')]);
    const isRefused = pathname.endsWith('/sessions/kept');
    const said = isRefused ? { code: 'x', message: 'It is kept.' } : found[pathname.replace('/bai/api/', '')];
    return new Response(said && JSON.stringify(said), { status: isRefused ? 400 : said ? 200 : 204 });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

test('an agent is drained at once if nothing runs there, and else in one of three ways', async () => {
  const asked = [];
  const session = id => ({ session_id: id, name: `its-${id}`, user_email: 'kim@lab.org', access_key: 'AK' });
  const settings = clusterOf(
    {
      'admin/agents/idle/sessions': { sessions: [] },
      'admin/agents/a/sessions': { sessions: [session('kept'), session('s')] },
      'admin/agents/b/sessions': { sessions: [session('s')] }
    },
    asked
  );
  const [drain] = tables.agents.actions;
  const idle = await drain.ask(settings, [{ name: 'idle' }]);
  assert.strictEqual(idle.body, 'No new sessions until it is resumed. No session runs there.');
  assert.deepStrictEqual(idle.ways.map(way => way.verb), ['Drain']);

  const two = await drain.ask(settings, [{ name: 'a' }, { name: 'b' }]);
  assert.strictEqual(two.title, 'Drain a, b?');
  assert.match(two.body, /^No new sessions on these 2 until .* 2 sessions run there: its-kept \(kim@lab.org\), its-s/);
  const [end, atTime, wait] = two.ways;
  assert.deepStrictEqual([end.confirm.title, wait.confirm], ['End 2 sessions on a, b?', undefined]);
  asked.length = 0;
  await wait.run();
  const drained = [['PATCH', 'admin/agents/a'], ['PATCH', 'admin/agents/b']];
  assert.deepStrictEqual(asked.splice(0), drained);
  const form = atTime.edit();
  const [{ value }] = form.fields;
  const hoursAhead = (new Date(value) - Date.now()) / 3_600_000;
  assert.ok(hoursAhead > 1.9 && hoursAhead < 2.3, value);
  await form.run({ by: value });
  assert.deepStrictEqual(asked.splice(0), drained);
  await assert.rejects(end.run(), { message: '1 of 2 were refused. The first: It is kept.' });
  assert.deepStrictEqual(asked, [...drained, ['DELETE', 'sessions/kept'], ['DELETE', 'sessions/s']]);
});

test('what is left on a drained agent is told, with what does not end and since when', async () => {
  const session = { session_id: 's', name: 'stuck', user_email: 'kim@lab.org', access_key: 'AK', ending_since: '2026-01-01T12:00:00Z' };
  const settings = clusterOf({ 'admin/agents/a/sessions': { sessions: [session] } }, []);
  const ways = await tables.agents.actions[1].ask(settings, [{ name: 'a', schedulable: false, sessions: 1 }]);
  assert.strictEqual(ways.title, 'Left on a');
  assert.match(ways.body, /No session runs there\. Still ending: stuck \(kim@lab\.org\), .*2026/);
  assert.deepStrictEqual(ways.ways.map(way => way.verb), ['End none']);
});

test('of settings it is told where they are set, and of secrets nothing; what the API sets can be changed', () => {
  const option = { name: 'ManagerApp.presets', value: { small: { cpu: '1' } }, default: {}, source: 'file', file: '/etc/bai.py', is_hidden: false };
  const secret = { ...option, name: 'ManagerApp.join_token', value: null, default: null, source: 'command line', is_hidden: true };
  const announcement = { ...option, name: 'announcement', value: 'Back at nine.', default: '', source: 'database', file: null };
  const cells = row => ['Value', 'Default', 'Set in'].map(label => textOf('settings', label, row));
  assert.deepStrictEqual(cells(option), ['{"small":{"cpu":"1"}}', '{}', 'the file /etc/bai.py']);
  assert.deepStrictEqual(cells(secret), ['not shown', '', 'the command line of its start']);
  assert.deepStrictEqual(cells(announcement), ['Back at nine.', '', 'the database: by the API, or here']);
  assert.deepStrictEqual(cells({ ...option, value: 3, default: 3, source: 'default' }), ['3', '3', '']);
  const [change] = tables.settings.actions;
  assert.deepStrictEqual([option, secret, announcement].map(change.label), ['', '', 'Change the announcement']);
});

test('many sessions are not all named', async () => {
  const sessions = Array.from({ length: 7 }, (_, place) => ({ session_id: `${place}`, name: `n${place}`, user_email: 'k' }));
  const settings = clusterOf({ 'admin/agents/a/sessions': { sessions } }, []);
  assert.match((await tables.agents.actions[0].ask(settings, [{ name: 'a' }])).body, /n4 \(k\) and 2 more\./);
});

test('the command that joins another host is told once, and made as it was asked for', async () => {
  const asked = [];
  const answer = query => (query.has('limit') ? { items: [{ name: 'default' }, { name: 'gpu' }], total: 2 } : { token: 'bai1.x', url: 'https://m' });
  const edit = await new Edits(settingsOf(answer, asked), trans).newAgent();
  assert.deepStrictEqual(edit.fields[0].options, [['default', 'default'], ['gpu', 'gpu']]);
  await assert.rejects(edit.run({ resource_group: 'gpu', uses: 'all', expires_s: '1 h' }), /all is no number/);
  const secret = await edit.run({ resource_group: 'gpu', uses: '3', expires_s: '2 d' });
  const [method, path, , body] = asked.at(-1);
  assert.deepStrictEqual([method, path, JSON.parse(body)], [
    'POST',
    '/bai/api/admin/join-tokens',
    { resource_group: 'gpu', uses: 3, expires_s: 172800 }
  ]);
  assert.deepStrictEqual([secret.facts, secret.taken], [
    [['On each host', 'bai agent join bai1.x']],
    { text: 'bai agent join bai1.x' }
  ]);
  assert.match(secret.note, /https:\/\/m\./);
});

test('what is over cannot be ended again, and a session says why it waits', () => {
  const row = { name: 'demo', session_id: 's', status: 'PENDING', status_data: '{"reason": {"code": "queued", "text": "3rd."}}' };
  assert.strictEqual(textOf('queue', 'State', row), '3rd.');
  assert.strictEqual(textOf('sessions', 'Resources', { requested_slots: '{"cpu": "2"}' }), '2 CPU');
  const [end] = tables.sessions.actions;
  assert.deepStrictEqual([end.label(row), end.label({ ...row, status: 'TERMINATED' })], ['End demo', '']);
});

test('sessions are ended and agents drained together, and nothing else is', () => {
  const together = Object.values(tables).flatMap(({ name, actions }) =>
    actions.filter(action => action.together).map(action => [name, action.together(2).label])
  );
  assert.deepStrictEqual(together, [
    ['agents', 'Drain 2 agents'],
    ['sessions', 'End 2 sessions'],
    ['queue', 'End 2 sessions']
  ]);
  assert.match(tables.sessions.actions[0].together(2).confirm, /^Their containers end\./);
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
    [0, 2.5].map(gpu_hours_per_week => textOf('policies', 'GPU-hours a week', { gpu_hours_per_week })),
    ['no limit', '2.5']
  );
  assert.deepStrictEqual(
    [0, 1200, 7200].map(idle_timeout => textOf('policies', 'Stopped when idle for', { idle_timeout })),
    ['no limit', '20 min', '2 h']
  );
  assert.deepStrictEqual(
    ['{}', null, '{"cpu": "4"}'].map(total_resource_slots => textOf('policies', 'Limits', { total_resource_slots })),
    ['no limit', 'no limit', '4 CPU']
  );
});

test('limits of a policy are filled in as they are, and read again as what they were', () => {
  const slots = { cpu: '8', mem: `${32 * 1024 ** 3}`, 'cuda.shares': '0.5', tpu: 'Infinity' };
  assert.strictEqual(typed.slotsText(slots), 'cpu=8, mem=32g, cuda.shares=0.5');
  assert.deepStrictEqual(typed.readSlots('cpu=8, mem=32g,cuda.shares=0.5', trans), {
    cpu: '8',
    mem: '32g',
    'cuda.shares': '0.5'
  });
  assert.deepStrictEqual(typed.readSlots('  ', trans), {});
  for (const text of ['cpu 8', 'cpu=', '=8', 'cpu=many', 'mem=1q']) {
    assert.throws(() => typed.readSlots(text, trans), /is no amount of a resource/);
  }
  for (const seconds of [0, 1, 90, 600, 5400, 7200, 86400, 90000]) {
    assert.strictEqual(typed.readSpan(typed.spanText(seconds), trans), seconds);
  }
  assert.deepStrictEqual([typed.spanText(5400), typed.spanText(172800), typed.spanText(0)], ['90 min', '2 d', '']);
  assert.deepStrictEqual([typed.readSpan('10m', trans), typed.readSpan(' 2 h ', trans)], [600, 7200]);
  for (const text of ['2', '2 weeks', '-1 h', '1.5 h']) {
    assert.throws(() => typed.readSpan(text, trans), /is no time/);
  }
  assert.throws(() => typed.readCount('-1', trans), /is no number/);
  assert.deepStrictEqual(['', ' 10 ', '2.5', '0,25'].map(text => typed.readHours(text, trans)), [0, 10, 2.5, 0.25]);
  for (const text of ['-1', '10 h', '1e3', '.']) {
    assert.throws(() => typed.readHours(text, trans), /is no number of hours/);
  }
});

test('what is wrong with a limit is said before anything is asked', async () => {
  const asked = [];
  const row = { name: 'few', total_resource_slots: '{}', default_for_unspecified: 'UNLIMITED', max_concurrent_sessions: 5 };
  const edit = new Edits(settingsOf(() => null, asked), trans).policy(row);
  const given = Object.fromEntries(edit.fields.map(field => [field.name, field.value]));
  await assert.rejects(edit.run({ ...given, idle_timeout: 'soon' }), /soon is no time/);
  await assert.rejects(edit.run({ ...given, gpu_hours_per_week: 'few' }), /few is no number of hours/);
  assert.deepStrictEqual(asked, []);
  await edit.run({ ...given, total_resource_slots: 'cpu=2', idle_timeout: '1 h', gpu_hours_per_week: '2.5' });
  const [[method, path, , body]] = asked;
  assert.deepStrictEqual([method, path, JSON.parse(body)], [
    'PATCH',
    '/bai/api/admin/policies/few',
    {
      total_resource_slots: { cpu: '2' },
      default_for_unspecified: 'UNLIMITED',
      max_concurrent_sessions: 5,
      gpu_hours_per_week: 2.5,
      max_session_lifetime: 0,
      suspend_after: 0,
      idle_timeout: 3600
    }
  ]);
});

test('whom a change of limits is about is asked as it would be sent, and put in words', async () => {
  const asked = [];
  const found = { people: 12, projects: 1, domains: 0, above: ['kim@lab.org', 'lee@lab.org'], used_up: [] };
  const row = { name: 'few', total_resource_slots: '{}', default_for_unspecified: 'UNLIMITED', max_concurrent_sessions: 5 };
  const edit = new Edits(settingsOf(() => found, asked), trans).policy(row);
  const given = Object.fromEntries(edit.fields.map(field => [field.name, field.value]));
  await assert.rejects(edit.preview({ ...given, idle_timeout: 'soon' }), /soon is no time/);
  assert.strictEqual(
    await edit.preview({ ...given, max_concurrent_sessions: '2' }),
    'Binds 12 people. Binds one project. 2 are above the new limits: kim@lab.org, lee@lab.org. What runs goes on.'
  );
  const [[method, path, , body]] = asked;
  assert.deepStrictEqual([method, path, JSON.parse(body).max_concurrent_sessions], ['POST', '/bai/api/admin/policies/few/effect', 2]);
  const none = { people: 0, projects: 0, domains: 0, above: [], used_up: [] };
  assert.strictEqual(describeEffect(none, trans), 'Binds nobody yet.');
  const many = Array.from({ length: 7 }, (_, place) => `u${place}`);
  assert.match(
    describeEffect({ ...none, people: 7, used_up: ['kim@lab.org'] }, trans),
    /^Binds 7 people\. kim@lab\.org has used up the GPU-hours of this week: sessions with GPUs are warned and stopped/
  );
  assert.match(describeEffect({ ...none, used_up: many }, trans), /7 have used up the GPU-hours of this week: u0, u1, u2, u3, u4 and 2 more\./);
  assert.match(describeEffect({ ...none, people: 7, above: many }, trans), /7 are above the new limits: u0, u1, u2, u3, u4 and 2 more\./);
});

test('no limit of sessions at once stays none', async () => {
  const asked = [];
  const row = { name: 'default', default_for_unspecified: 'UNLIMITED', max_concurrent_sessions: null };
  const edit = new Edits(settingsOf(() => null, asked), trans).policy(row);
  const given = Object.fromEntries(edit.fields.map(field => [field.name, field.value]));
  assert.strictEqual(given.max_concurrent_sessions, '');
  await edit.run(given);
  assert.strictEqual('max_concurrent_sessions' in JSON.parse(asked[0][3]), false);
  const isOptional = one => new Edits(null, trans).policy(one).fields.find(field => field.label === 'Sessions at once').isOptional;
  assert.deepStrictEqual([isOptional(row), isOptional({ ...row, max_concurrent_sessions: 3 })], [true, false]);
});

/** What a form sends if it is left as it is, but for `changes`. */
async function sentBy(edit, changes = {}) {
  const given = Object.fromEntries(edit.fields.map(field => [field.name, field.value ?? field.options?.[0]?.[0] ?? '']));
  await edit.run({ ...given, ...changes });
}

test('what is made, changed and deleted is asked for by list and key', async () => {
  const asked = [];
  const settings = settingsOf(query => (query.has('limit') ? { items: [{ name: 'default' }], total: 1 } : null), asked);
  const edits = new Edits(settings, trans);
  const preset = { name: 'a b', resource_slots: '{"cpu": "2", "mem": "1073741824"}', shared_memory: 1024 ** 2 };
  await sentBy(edits.newPreset(), { name: 'tiny', resource_slots: 'cpu=1' });
  await sentBy(edits.preset(preset));
  await sentBy(edits.preset(preset), { shared_memory: ' ' });
  await tables.presets.actions[1].run(settings, preset);
  await sentBy(await edits.newProject(), { name: 'vision', total_resource_slots: 'cpu=64' });
  await sentBy(await edits.project({ id: 'p', name: 'nlp', resource_policy: 'default', is_active: false }));
  const told = asked.filter(one => one[0] !== 'GET').map(([method, path, , body]) => [method, path, JSON.parse(body || 'null')]);
  assert.deepStrictEqual(told, [
    ['POST', '/bai/api/admin/presets', { name: 'tiny', resource_slots: { cpu: '1' }, shared_memory: '0' }],
    ['PATCH', '/bai/api/admin/presets/a%20b', { resource_slots: { cpu: '2', mem: '1g' }, shared_memory: '1m' }],
    ['PATCH', '/bai/api/admin/presets/a%20b', { resource_slots: { cpu: '2', mem: '1g' }, shared_memory: '0' }],
    ['DELETE', '/bai/api/admin/presets/a%20b', null],
    [
      'POST',
      '/bai/api/admin/projects',
      { name: 'vision', domain_name: 'default', description: '', total_resource_slots: { cpu: '64' }, is_active: true }
    ],
    [
      'PATCH',
      '/bai/api/admin/projects/p',
      { name: 'nlp', description: '', total_resource_slots: {}, resource_policy: 'default', is_active: false }
    ]
  ]);
});

test('a resource group says its options where the manager has them', async () => {
  const asked = [];
  const edits = new Edits(settingsOf(() => null, asked), trans);
  await sentBy(edits.newGroup(), { name: 'gpu' });
  const options = { pending_timeout: 7200, agent_selection_strategy: 'concentrated', config: { num_retries_to_skip: 3 } };
  const row = { name: 'gpu', scheduler: 'lifo', is_public: false, is_active: true, scheduler_opts: JSON.stringify(options) };
  await sentBy(edits.group(row), { description: 'with GPUs' });
  const [made, changed] = asked.map(one => JSON.parse(one[3]));
  const free = { pending_timeout: 0, agent_selection_strategy: 'dispersed', config: { num_retries_to_skip: 0 } };
  assert.deepStrictEqual(made, {
    name: 'gpu', description: '', scheduler: 'fifo', scheduler_opts: free, is_public: true, is_active: true
  });
  assert.deepStrictEqual(changed, {
    description: 'with GPUs', scheduler: 'lifo', scheduler_opts: options, is_public: false, is_active: true
  });
});

test('members, who may use a group, and aliases: what is chosen comes first, and is said as a whole', async () => {
  const asked = [];
  const user = (name, domain_name, groups) => ({ uuid: name, email: `${name}@lab.org`, domain_name, groups });
  const users = [user('ann', 'x', []), user('bob', 'x', [{ id: 'p' }]), user('eve', 'y', [])];
  const edits = new Edits(settingsOf(query => (query.has('limit') ? { items: users, total: 3 } : null), asked), trans);
  const members = await edits.members({ id: 'p', name: 'nlp', domain_name: 'x' });
  assert.deepStrictEqual(members.fields[0].options, [['bob', 'bob@lab.org'], ['ann', 'ann@lab.org']]);
  assert.strictEqual(members.fields[0].value, 'bob');
  await members.run({ members: 'ann\nbob' });
  await members.run({ members: '' });
  const aliases = edits.aliases({ name: 'bai/python:1', aliases: ['py', 'snake'] });
  assert.strictEqual(aliases.fields[0].value, 'py, snake');
  await aliases.run({ aliases: 'py,serpent ' });
  const told = asked.slice(1).map(([method, path, , body]) => [method, path, JSON.parse(body).items]);
  assert.deepStrictEqual(told, [
    ['PUT', '/bai/api/admin/projects/p/members', ['ann', 'bob']],
    ['PUT', '/bai/api/admin/projects/p/members', []],
    ['PUT', '/bai/api/admin/images/bai%2Fpython%3A1/aliases', ['py', 'serpent']]
  ]);
});

test('an admin of a domain changes its people and projects, sets no limits, and only looks at the rest', async () => {
  const changed = tablesFor('admin', trans).filter(table => table.actions.length > 0 || table.addition);
  assert.deepStrictEqual(changed.map(table => table.name), ['sessions', 'queue', 'users', 'projects', 'keypairs']);
  const settings = settingsOf(() => ({ items: [{ name: 'lab', id: 'p', domain_name: 'lab', is_active: true }], total: 1 }));
  const edits = new Edits(settings, trans, false);
  const names = edit => edit.fields.map(field => field.name);
  assert.deepStrictEqual(names(await edits.newProject()), ['name', 'domain_name', 'description', 'is_active']);
  assert.deepStrictEqual(names(await edits.project({ id: 'p' })), ['name', 'description', 'is_active']);
  const [, , , , role] = (await edits.newUser()).fields;
  assert.deepStrictEqual(role.options.map(([value]) => value), ['user', 'admin']);
});

test('an image that is somebody\'s own is not looked at again, which would give it to all', () => {
  const offered = row => tables.images.actions.map(action => action.label(row)).filter(Boolean);
  assert.deepStrictEqual(offered({ name: 'i' }), ['Aliases of i', 'Look again at i', 'Forget i']);
  assert.deepStrictEqual(offered({ name: 'i', is_private: true }), ['Aliases of i', 'Forget i']);
});

test('a user is made in the domain of their project; a secret key is told once', async () => {
  const asked = [];
  const lab = { id: 'p', name: 'lab', domain_name: 'science', is_active: true };
  const closed = { ...lab, id: 'q', name: 'closed', is_active: false };
  const settings = settingsOf(query => (query.has('limit') ? { items: [lab, closed], total: 2 } : { access_key: 'A', secret_key: 'S' }), asked);
  const edits = new Edits(settings, trans);
  const user = await edits.newUser();
  assert.deepStrictEqual(user.fields.find(field => field.name === 'project').options, [['p', 'science/lab']]);
  await user.run({ email: 'kim@lab.org', username: 'kim', password: 'secret', role: 'user', project: 'p' });
  const { domain_name, group_ids } = JSON.parse(asked[1][3]);
  assert.deepStrictEqual([domain_name, group_ids], ['science', ['p']]);
  const keypair = await edits.newKeypair({ email: 'kim@lab.org' });
  const told = await keypair.run({ resource_policy: 'default' });
  assert.deepStrictEqual(told.facts.map(([, value]) => value), ['A', 'S']);
  const offered = row => tables.users.actions.map(action => action.label(row)).filter(Boolean);
  assert.deepStrictEqual(offered({ email: 'k', status: 'active' }), ['Deactivate k', 'Issue keypair for k']);
  assert.deepStrictEqual(offered({ email: 'k', status: 'inactive' }), ['Activate k', 'Issue keypair for k']);
});

test('usage by month: the last six in UTC, as a chart and as figures; nothing where nothing was held', () => {
  const now = new Date('2026-03-31T23:30:00Z');
  const months = tablesFor('superadmin', trans, now).find(table => table.name === 'months');
  const row = { name: 'lab', months: { 202510: 1.5, 202603: 3 } };
  assert.deepStrictEqual(months.columns.find(column => column.bars).bars(row), [1.5, 0, 0, 0, 0, 3]);
  const labels = months.columns.slice(3).map(column => column.label);
  assert.deepStrictEqual([labels.length, labels[0], labels[5]], [6, 'Oct 2025', 'Mar 2026']);
  assert.deepStrictEqual(months.columns.slice(3).map(column => column.text(row)), ['1.5', '0', '0', '0', '0', '3']);
});

test('what is of the cluster as a whole is for superadmins alone', () => {
  const all = ['volumes', 'folders', 'errors'];
  const names = tablesFor('admin', trans).map(table => table.name);
  assert.ok(all.every(name => name in tables && !names.includes(name)));
  assert.ok(names.includes('domains'));
});

test('volumes say how full they are, and folders whose they are', () => {
  const volume = { used_bytes: 2 * 1024 ** 3, capacity_bytes: 8 * 1024 ** 3, quota_kind: 'hard' };
  const use = row => tables.volumes.columns.find(column => column.uses).uses(row).map(one => one.text);
  assert.deepStrictEqual([use(volume), use({ trouble: 'No agent.' })], [['2 of 8 GiB'], []]);
  assert.deepStrictEqual([volume, { trouble: 'No agent.' }].map(row => textOf('volumes', 'Free', row)), ['6 GiB', 'No agent.']);
  assert.deepStrictEqual(
    [{ group_name: 'vision' }, { user_email: 'kim@lab.org' }].map(row => textOf('folders', 'Whose', row)),
    ['project vision', 'kim@lab.org']
  );
  assert.deepStrictEqual([null, 1024 ** 3].map(max_size => textOf('folders', 'Limit', { max_size })), ['no limit', '1 GiB']);
});

test('a row of a session leads to its tab, with the keypair by which an admin asks for it', () => {
  const row = { session_id: 's', name: 'demo', access_key: 'AKIA', user_id: 'u' };
  assert.deepStrictEqual(tables.sessions.session(row), { id: 's', name: 'demo', owner: 'AKIA', user: 'u' });
  assert.strictEqual(tables.users.session, undefined);
});

test('a domain is made with its limits', async () => {
  const asked = [];
  const settings = settingsOf(() => ({ items: [{ name: 'default' }], total: 1 }), asked);
  const made = await new Edits(settings, trans).newDomain();
  const values = Object.fromEntries(made.fields.map(({ name, value }) => [name, value ?? '']));
  await made.run({ ...values, name: 'physics', total_resource_slots: 'cpu=8' });
  const [method, path, , body] = asked[asked.length - 1];
  assert.deepStrictEqual([method, path], ['POST', '/bai/api/admin/domains']);
  assert.deepStrictEqual(JSON.parse(body), {
    name: 'physics',
    description: '',
    total_resource_slots: { cpu: '8' },
    is_active: true
  });
});
