/** What is said of the cluster's health. */

const assert = require('node:assert');
const { test } = require('node:test');

const { checksOf } = require('../lib/test/health.js');
const { VERSION } = require('../lib/test/versions.js');

const fill = (text, args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text);
const trans = { __: (text, ...args) => fill(text, args), _n: (one, many, n, ...args) => fill(n === 1 ? one : many, [n, ...args]) };
const GIB = 1024 ** 3;

function agent(name, more = {}) {
  return { name, status: 'ALIVE', schedulable: true, isolated: true, heard_at: null, version: VERSION, engine_trouble: null, sick: [], ...more };
}

function health(more = {}) {
  return {
    versions: { extension: VERSION, manager: VERSION },
    is_frozen: false,
    agents: [agent('lab-1')],
    volumes: [{ name: 'local:home', trouble: null, used_bytes: GIB, capacity_bytes: 10 * GIB }],
    errors: [],
    error_count: 0,
    ...more
  };
}

/** `{name: [state, said]}` */
const told = more => Object.fromEntries(checksOf(health(more), trans).map(({ name, state, said }) => [name, [state, said]]));

test('where all is well, each check says so', () => {
  const checks = told();
  assert.deepStrictEqual(Object.keys(checks), ['New sessions', 'Agents', 'Container engines', 'Isolation', 'Devices', 'Storage', 'Versions', 'Errors']);
  assert.ok(Object.values(checks).every(([state]) => state === 'well'));
  assert.strictEqual(checks.Agents[1], 'One is ready.');
  assert.strictEqual(checks.Storage[1], 'There is room in the one volume.');
});

test('what is not well is named, with what to do', () => {
  const checks = told({
    is_frozen: true,
    agents: [
      agent('lab-1', { version: '9.9.9', isolated: false }),
      agent('lab-2', { schedulable: false, sick: ['H200'] }),
      agent('lab-3', { status: 'LOST', heard_at: '2026-11-30T14:00:00Z' }),
      agent('lab-4', { schedulable: false, drain_by: '2026-11-30T18:00:00Z' })
    ],
    volumes: [
      { name: 'local:home', trouble: null, used_bytes: 9 * GIB, capacity_bytes: 10 * GIB },
      { name: 'far:data', trouble: 'No agent that holds it answers.' }
    ],
    errors: [{ created_at: '2026-11-30T14:00:00Z', source: 'bai', message: 'It broke.' }],
    error_count: 3
  });
  assert.strictEqual(checks['New sessions'][0], 'attention');
  assert.match(checks.Agents[1], /One is ready\. lab-2 is drained.*lab-4 is drained.*, and what is left there at .*2026.* is ended\. lab-3 has not answered since .*2026/);
  assert.deepStrictEqual(checks.Isolation, ['attention', 'Not isolated, since these run sessions without containers: lab-1.']);
  assert.deepStrictEqual(checks.Devices, ['attention', 'Something is wrong with lab-2: H200.']);
  assert.deepStrictEqual(checks.Storage, [
    'failed',
    'far:data: No agent that holds it answers. local:home is nearly full: 9 of 10 GiB.'
  ]);
  assert.match(checks.Versions[1], new RegExp(`The manager has ${VERSION}; others are: lab-1 9.9.9`));
  assert.match(checks.Errors[1], /3 since the manager started, the last at .*: It broke\./);
});

test('an engine that does not answer is a failure, of an agent that does', () => {
  const trouble = { engine_trouble: 'The container engine on lab-2 does not answer: gone. Tell your admin.' };
  assert.deepStrictEqual(told({ agents: [agent('lab-1'), agent('lab-2', trouble)] })['Container engines'], [
    'failed',
    'The container engine on lab-2 does not answer: gone. Tell your admin. What runs there may go on; nothing new can start.'
  ]);
  assert.strictEqual(told({ agents: [agent('lab-2', { ...trouble, status: 'LOST' })] })['Container engines'][0], 'well');
});

test('no agent, or none that is ready, is a failure', () => {
  assert.deepStrictEqual(told({ agents: [] }).Agents, ['failed', 'There is none: sessions wait. Start one with `bai agent run`.']);
  assert.strictEqual(told({ agents: [agent('lab-1', { schedulable: false })] }).Agents[0], 'failed');
});
