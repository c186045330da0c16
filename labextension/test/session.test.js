/** One session, as its tab tells of it; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { isKeepable } = require('../lib/test/model.js');
const session = require('../lib/test/session.js');

const fill = (text, args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text);
const trans = { __: (text, ...args) => fill(text, args), _n: (one, many, n, ...args) => fill(n === 1 ? one : many, [n, ...args]) };
const GIB = 1024 ** 3;
const NOW = new Date('2026-11-30T14:00:00Z');

function view(more = {}) {
  return {
    id: 's',
    name: 'demo',
    image: 'python:3.11',
    status: 'RUNNING',
    slots: { cpu: '2', mem: `${4 * GIB}` },
    clusterSize: 1,
    isolated: true,
    age: 3600_000,
    runningFor: 1800_000,
    agent: 'lab-1',
    resourceGroup: 'default',
    creationTime: '2026-11-30T13:00:00Z',
    terminationTime: null,
    mounts: [],
    kernels: [],
    idleChecks: {},
    ...more
  };
}

function container(host, liveStat) {
  return { id: `c-${host}`, host, role: host.slice(0, -1), status: 'RUNNING', agent: 'lab-1', exitCode: null, liveStat };
}

function settingsOf(answer, asked = []) {
  const fetch = async request => {
    const { pathname } = new URL(request.url);
    asked.push(pathname.replace('/bai/api/sessions/', ''));
    const found = answer(pathname);
    return new Response(JSON.stringify(found ?? { code: 'not-found', message: 'No.' }), { status: found ? 200 : 404 });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

test('facts are those that are known', () => {
  const told = Object.fromEntries(session.factsOf({ ...view(), project: 'lab' }, NOW, trans));
  const asked = new Date('2026-11-30T13:00:00Z').toLocaleTimeString();
  assert.deepStrictEqual(told, {
    Name: 'demo',
    Environment: 'python:3.11',
    Resources: '2 CPU · 4 GiB',
    'Held so far': '1 core-hours · 2 GiB-hours',
    Agent: 'lab-1',
    Group: 'default',
    Project: 'lab',
    Isolated: 'yes',
    'Asked for': `${asked}, 1 h ago`,
    'Has run for': '30 min'
  });
  const ended = view({ agent: null, isolated: null, runningFor: null, terminationTime: '2026-11-30T13:30:00Z', clusterSize: 2 });
  const rest = session.factsOf({ ...ended, project: null }, NOW, trans).map(([label]) => label);
  assert.deepStrictEqual(rest, ['Name', 'Environment', 'Resources', 'Group', 'Asked for', 'Ended']);
});

test('each container uses of what each has', () => {
  const measured = { cpu_used_s: 9, mem_used_bytes: GIB, mem_limit_bytes: null };
  const cluster = view({ clusterSize: 3, kernels: [container('main1', measured), container('sub1', measured), container('sub2', null)] });
  const uses = session.usesOf(cluster, id => (id === 'c-sub1' ? 0.5 : null), trans);
  assert.deepStrictEqual(
    uses.map(({ host, uses: own }) => [host, ...own.map(one => one.text)]),
    [
      ['main1', '1 of 4 GiB'],
      ['sub1', '0.5 of 2 CPU', '1 of 4 GiB']
    ]
  );
});

test('what stops it by itself is told in the order in which it would', () => {
  const policy = 'user kim';
  const checks = {
    session_lifetime: { remaining: 7200, extra: { limit: 10800, policy } },
    network_timeout: { remaining: 600, extra: { limit: 3600, policy, last: 'a cell', running: false, extensions_left: 2 } },
    utilization: { remaining: 660, extra: { limit: 90, policy, resources: { cpu_util: [0.5, 5] }, extensions_left: 1 } },
    suspension: { remaining: 30, extra: { limit: 1200, policy, running: true } },
    gpu_hours: { remaining: 10800, extra: { limit: 36000, policy } },
    drain: { remaining: 20, extra: { agent: 'lab-1' } }
  };
  const at = seconds => new Date(NOW.getTime() + 1000 * seconds).toLocaleTimeString();
  assert.deepStrictEqual(session.limitsOf(checks, NOW, trans), [
    {
      what: 'Stops because lab-1 is emptied for maintenance',
      left: `under 1 min left, until ${at(20)}`,
      details: ['Using it does not put that off']
    },
    {
      what: 'Is suspended if idle for 20 min',
      left: `under 1 min left, until ${at(30)}`,
      details: ['The limit of user kim', 'it is at work now']
    },
    {
      what: 'Stops if idle for 1 h',
      left: `10 min left, until ${at(600)}`,
      details: ['The limit of user kim', 'last: a cell', 'can be kept 2 times more']
    },
    {
      what: 'Stops if it hardly uses what it has for 1 min 30 s',
      left: `11 min left, until ${at(660)}`,
      details: ['The limit of user kim', 'CPU 0.5 %, below 5 % is idle', 'can be kept once more']
    },
    { what: 'Stops 3 h after it began', left: `2 h left, until ${at(7200)}`, details: ['The limit of user kim'] },
    {
      what: 'Stops when the GPU-hours of this week are used up',
      left: `3 h left, until ${at(10800)}`,
      details: ['The limit of user kim']
    }
  ]);
});

test('each status lasts until the next one, the last until now or for ever', () => {
  const changes = [
    { status: 'PENDING', at: '2026-11-30T13:00:00Z', reason: null },
    { status: 'RUNNING', at: '2026-11-30T13:00:45Z', reason: { code: 'running', text: 'Running on lab-1.' } },
    { status: 'RESTARTING', at: '2026-11-30T13:10:45Z', reason: { code: 'running', text: 'Running on lab-1.' } },
    { status: 'RUNNING', at: '2026-11-30T13:10:45.300Z', reason: null }
  ];
  const told = (steps, now = NOW) =>
    session
      .stepsOf(steps, now)
      .map(({ status, lasted, sentence }) => [status, lasted === null ? null : session.describeSpan(lasted, trans), sentence]);
  assert.deepStrictEqual(told(changes), [
    ['PENDING', '45 s', ''],
    ['RUNNING', '10 min', 'Running on lab-1.'],
    ['RESTARTING', 'under 1 s', ''],
    ['RUNNING', '49 min 14 s', '']
  ]);
  assert.deepStrictEqual(told([{ ...changes[0], status: 'TERMINATED' }]), [['TERMINATED', null, '']]);
  assert.deepStrictEqual(told([changes[0]], new Date('2026-11-30T12:59:59Z')), [['PENDING', 'under 1 s', '']], 'clocks differ');
});

test('spans are told in two units at most, moments of another day with it', () => {
  const spans = [0, 59, 60, 200, 3600, 3725, 90000, 2 * 86400].map(seconds => session.describeSpan(1000 * seconds, trans));
  assert.deepStrictEqual(spans, ['under 1 s', '59 s', '1 min', '3 min 20 s', '1 h', '1 h 2 min', '1 d 1 h', '2 d']);
  const [today, before] = [new Date(2026, 10, 30, 9), new Date(2026, 10, 29, 9)];
  assert.strictEqual(session.describeMoment(today, today), today.toLocaleTimeString());
  assert.match(session.describeMoment(before, today), /29/);
});

test('what is on record is put into words', () => {
  const said = action => session.describeAction(action, trans);
  assert.deepStrictEqual(['DELETE session:end', 'PATCH session:control', 'PUT folder:new'].map(said), [
    'Ended',
    'Restarted',
    'Changed or used'
  ]);
  assert.deepStrictEqual([101, 204, 409].map(one => session.describeResult(one, trans)), ['done', 'done', 'refused (409)']);
});

test('the project is asked for until it is known, and who may not know it sees the rest', async () => {
  const asked = [];
  let project;
  const settings = settingsOf(path => (path.endsWith('/project') ? project : view({ kernels: [container('main1', { cpu_used_s: 1 })] })), asked);
  const detail = new session.SessionDetail(settings, 's');
  assert.strictEqual((await detail.ask()).project, null);
  project = { name: 'lab' };
  assert.strictEqual((await detail.ask()).project, 'lab');
  assert.strictEqual((await detail.ask()).project, 'lab');
  assert.deepStrictEqual(asked.sort(), ['s', 's', 's', 's/project', 's/project']);
  detail.dispose();
});

test('apps are asked for while it runs', async () => {
  const asked = [];
  let status = 'PENDING';
  const ports = [{ name: 'ttyd', protocol: 'http', ports: [1] }, { name: 'p-80', protocol: 'discovered', ports: [80] }];
  const settings = settingsOf(path => (path.endsWith('/apps') ? { apps: ports } : view({ status })), asked);
  const detail = new session.SessionDetail(settings, 's');
  const apps = new session.SessionApps(settings, detail);
  assert.deepStrictEqual(await apps.ask(), []);
  assert.ok(!asked.includes('s/apps'));
  status = 'RUNNING';
  await detail.ask();
  assert.deepStrictEqual((await apps.ask()).map(one => one.name), ['p-80']);
  [detail, apps].forEach(model => model.dispose());
});

test('a session that is stopped for being idle is kept as long as it may be', () => {
  const check = extra => ({ remaining: 540, extra: { limit: 3600, policy: 'user kim', ...extra } });
  const asked = [
    {},
    { session_lifetime: check({}) },
    { network_timeout: check({ extensions_left: 0 }) },
    { session_lifetime: check({}), network_timeout: check({ extensions_left: 1 }) }
  ];
  assert.deepStrictEqual(asked.map(idleChecks => isKeepable(view({ idleChecks }))), [false, false, false, true]);
});

test("an admin asks for somebody else's by a keypair of theirs, and is told whose it is", async () => {
  const answer = path => (path.endsWith('/project') ? { name: 'lab', owner: 'kim@lab.org' } : view());
  const asked = [];
  const fetch = async request => {
    const { pathname, searchParams } = new URL(request.url);
    asked.push(searchParams.get('owner'));
    return new Response(JSON.stringify(answer(pathname)));
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  const theirs = await new session.SessionDetail(settings, 's', 'AKIA').ask();
  const own = await new session.SessionDetail(settings, 's').ask();
  assert.deepStrictEqual(asked, ['AKIA', 'AKIA', null, null]);
  assert.deepStrictEqual([theirs.owner, own.owner], ['kim@lab.org', null]);
  assert.ok(session.factsOf(theirs, NOW, trans).some(([label, text]) => label === 'Owner' && text === 'kim@lab.org'));
});

test('a session is renamed to what was typed, and what that breaks is said before', async () => {
  const names = [];
  const edit = session.renaming('demo', async name => void names.push(name), trans);
  assert.deepStrictEqual(edit.fields.map(field => [field.name, field.value]), [['name', 'demo']]);
  assert.match(edit.notes[0], /ask for it as demo do not find it/);
  await edit.run({ name: ' train-7 ' });
  assert.deepStrictEqual(names, ['train-7']);
});
