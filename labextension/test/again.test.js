/** Sessions that are over, and what one of them ran on; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');
const { Signal } = require('@lumino/signaling');

const { choiceOfSession, describeAgain, Ended, isReusable, startOf } = require('../lib/test/again.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };
const GIB = 1024 ** 3;
const OFFER = {
  images: [{ name: 'python:3.11' }],
  folders: [
    { id: 'f-1', name: 'data-of-2026' },
    { id: 'f-2', name: 'notes' }
  ],
  presets: [{ name: 'small', resource_slots: { cpu: '2', mem: `${4 * GIB}` } }]
};

function view(more = {}) {
  return {
    name: 'demo',
    type: 'interactive',
    status: 'TERMINATED',
    clusterSize: 1,
    image: 'python:3.11',
    slots: { cpu: '2', mem: `${3 * GIB}` },
    mounts: [],
    resourceGroup: 'gpu',
    jupyterKernels: [],
    ...more
  };
}

test('what a session had is chosen again', () => {
  assert.deepStrictEqual(choiceOfSession(view({ jupyterKernels: [{ kernelspec: 'ir' }] }), 'vision', OFFER), {
    image: 'python:3.11',
    kernelspec: 'ir',
    resource_group: 'gpu',
    project: 'vision',
    resources: { cpu: '2', mem: '3g' }
  });
  const preset = view({ slots: { cpu: '2', mem: `${4 * GIB}`, 'cuda.device': '0' } });
  assert.deepStrictEqual(choiceOfSession(preset, null, OFFER), { image: 'python:3.11', resource_group: 'gpu', preset: 'small' });
});

test('folders go by the names that they have now; what is mounted in any case is left out', () => {
  const mounts = [
    { folder: null, name: 'home', read_only: false },
    { folder: 'f-0', name: '.local', read_only: false },
    { folder: 'f-1', name: 'data', read_only: true },
    { folder: 'f-2', name: 'notes', read_only: false },
    { folder: 'f-3', name: 'gone', read_only: false }
  ];
  assert.deepStrictEqual(choiceOfSession(view({ mounts }), null, OFFER).mounts, ['data-of-2026:ro', 'notes', 'gone']);
});

test('only what a notebook can have is used again, once it is over', () => {
  assert.ok(['TERMINATED', 'CANCELLED', 'ERROR'].every(status => isReusable(view({ status }))));
  const others = [{ status: 'RUNNING' }, { status: 'TERMINATING' }, { type: 'batch' }, { clusterSize: 2 }];
  assert.ok(!others.some(more => isReusable(view(more))));
});

test('an environment that is gone is named', () => {
  assert.match(describeAgain(view(), OFFER, trans), /^A new notebook gets a session like demo/);
  assert.match(describeAgain(view({ image: 'old:1' }), OFFER, trans), /^demo ran old:1, which is not there any more/);
});

test('a day begins where the page is', () => {
  const start = startOf(new Date(2026, 10, 30, 14, 5));
  assert.deepStrictEqual([start.getDate(), start.getHours(), start.getMinutes()], [30, 0, 0]);
});

test('those that ended are asked for anew as soon as one that lived is missing, while somebody looks', async () => {
  const asked = [];
  const settings = ServerConnection.makeSettings({
    baseUrl: 'http://lab/',
    wsUrl: 'ws://lab/',
    token: '',
    fetch: async ({ url }) => {
      asked.push(url);
      return new Response(JSON.stringify({ sessions: [], total: 0 }));
    }
  });
  const sessions = { value: [{ id: 'a' }, { id: 'b' }] };
  sessions.changed = new Signal(sessions);
  const ended = new Ended(settings, sessions);
  const tell = value => {
    sessions.value = value;
    sessions.changed.emit();
    return new Promise(resolve => setImmediate(resolve));
  };
  await tell(sessions.value);
  await tell([{ id: 'a' }]);
  assert.equal(asked.length, 0);
  const answered = () => new Promise(resolve => ended.changed.connect(resolve));
  ended.watch();
  await answered();
  await tell([{ id: 'a' }, { id: 'c' }]);
  assert.equal(asked.length, 1);
  const again = answered();
  await tell([{ id: 'c' }]);
  await again;
  assert.equal(asked.length, 2);
  assert.match(asked[0], /ended-sessions\?since=[^&]+T[^&]+Z/);
  ended.unwatch();
  ended.dispose();
});
