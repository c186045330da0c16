/** What a notebook's kernel runs on, while somebody chooses it; the manager is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { importNotebook, runNotebook } = require('../lib/test/api.js');
const {
  choiceToRun,
  describeChoice,
  fit,
  isToBeAsked,
  mountsWith,
  over,
  readChoice,
  readMount,
  slidersOf,
  toAmount,
  withMemory
} = require('../lib/test/resources.js');

const { CUSTOM, Draft } = require('../lib/test/draft.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };
const GIB = 1024 ** 3;
const capacity = {
  keypair_limits: { cpu: '8', mem: 'Infinity' },
  keypair_using: {},
  user_limits: { cpu: 'Infinity', mem: `${6.6 * GIB}` },
  user_using: {},
  group_limits: {},
  group_using: {},
  domain_limits: {},
  domain_using: {},
  scaling_groups: {
    default: { using: { cpu: '2', mem: '0' }, remaining: { cpu: '14', mem: `${30 * GIB}`, 'cuda.shares': '1' } },
    small: { using: {}, remaining: { cpu: '4', mem: `${2 * GIB}` } }
  },
  presets: []
};
const offer = {
  images: [{ name: 'python', kernelspecs: [{ name: 'python3' }, { name: 'xpython' }] }],
  presets: [
    { name: 'small', resource_slots: { cpu: '1', mem: `${2 * GIB}` } },
    { name: 'large', resource_slots: { cpu: '4', mem: `${8.5 * GIB}`, 'rocm.device': '1' } }
  ],
  folders: [],
  sessions: [],
  groups: ['default'],
  projects: [],
  capacity
};

/** A manager that answers each question with `answer(choices)`. */
function settingsOf(answer) {
  const fetch = async request => {
    const { choices } = JSON.parse(await request.text());
    return new Response(JSON.stringify({ verdicts: answer(choices) }));
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

const now = { verdict: 'now', reason: null, estimate_s: null };

function changedOf(draft) {
  return new Promise(resolve => {
    const slot = () => {
      draft.changed.disconnect(slot);
      resolve();
    };
    draft.changed.connect(slot);
  });
}

test('what somebody else wrote is read by kind', () => {
  assert.deepStrictEqual(
    readChoice({
      image: 'python',
      preset: 3,
      mounts: ['data', 7],
      resources: { cpu: 2 },
      environ: { TOKEN: 'secret' },
      session: ''
    }),
    { image: 'python', mounts: ['data'], resources: { cpu: '2' } }
  );
  for (const none of [null, 'text', 3, [], { mounts: [7], resources: {} }]) {
    assert.deepStrictEqual(readChoice(none), {});
  }
});

test('a choice in few words', () => {
  assert.strictEqual(describeChoice({ preset: 'gpu', resources: { mem: '16g' } }), 'gpu · 16 GiB');
  assert.strictEqual(describeChoice({ resources: { cpu: '2', mem: '512MiB' } }), '2 CPU · 512 MiB');
  assert.strictEqual(describeChoice({ session: 'shared', preset: 'gpu' }), 'shared');
  assert.strictEqual(describeChoice({ image: 'python' }), '');
});

test('sliders end at the tightest limit, or at what the group has', () => {
  const ends = group => slidersOf(capacity, group, trans).map(({ slot, max, step }) => [slot, max, step]);
  assert.deepStrictEqual(ends(), [
    ['cpu', 8, 1],
    ['mem', 6.5, 0.25],
    ['cuda.shares', 1, 0.1]
  ]);
  assert.deepStrictEqual(ends('small'), [
    ['cpu', 4, 1],
    ['mem', 2, 0.25]
  ]);
  const [cpu, memory] = slidersOf(capacity, undefined, trans);
  assert.deepStrictEqual([fit(cpu, 99), fit(cpu, 0), fit(cpu, NaN), fit(memory, 1.3)], [8, 1, 1, 1.25]);
  assert.deepStrictEqual([toAmount('mem', 8), toAmount('mem', 1.25), toAmount('cpu', 2)], ['8g', '1280m', '2']);
});

test('a draft asks about each preset in its place, and about amounts of its own', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const asked = [];
  const settings = settingsOf(choices => {
    asked.push(choices);
    return choices.map(() => now);
  });
  const draft = new Draft(settings, offer, { image: 'gone', mounts: ['data'] });
  const rest = { image: 'python', kernelspec: 'python3', mounts: ['data'] };
  assert.deepStrictEqual(draft.choice, { ...rest, preset: 'small' });
  await changedOf(draft);
  assert.deepStrictEqual(asked[0], [
    { ...rest, preset: 'small' },
    { ...rest, preset: 'large' }
  ]);
  assert.strictEqual(draft.verdict.verdict, 'now');

  draft.choosePreset('large');
  draft.choosePreset(CUSTOM);
  draft.chooseAmount('cpu', 3);
  assert.strictEqual(draft.verdict, undefined);
  assert.deepStrictEqual(draft.choice, { ...rest, resources: { cpu: '3', mem: '8704m' } });
  t.mock.timers.tick(1000);
  await changedOf(draft);
  assert.strictEqual(asked.length, 2, 'once for all changes');
  assert.deepStrictEqual(asked[1], [draft.choice], 'what was said of presets holds');
  draft.choosePreset('small');
  draft.choosePreset(CUSTOM);
  assert.deepStrictEqual(draft.choice.resources, { cpu: '3', mem: '8704m' }, 'as they were');
  draft.dispose();
});

test('what would become of the session that runs is asked with it', async () => {
  const asked = [];
  const refused = { ...now, verdict: 'refused' };
  const fetch = async request => {
    const question = JSON.parse(await request.text());
    asked.push(question);
    const verdicts = question.resizes.map(slots => ({ ...now, resize: slots && refused }));
    return new Response(JSON.stringify({ verdicts }));
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  const [small, large] = [{ cpu: '1', mem: `${2 * GIB}` }, { cpu: '4', mem: `${8 * GIB}` }];
  const presets = [
    { name: 'small', resource_slots: small },
    { name: 'large', resource_slots: large }
  ];
  const session = { id: 's-1', status: 'RUNNING', isolated: true, image: 'python', mounts: [], slots: small };
  const draft = new Draft(settings, { ...offer, presets }, {}, session);
  assert.strictEqual(draft.choice.preset, 'small', 'what it has');
  await changedOf(draft);
  assert.strictEqual(asked[0].instead_of, 's-1');
  assert.deepStrictEqual(asked[0].resizes, [null, large]);
  assert.deepStrictEqual([draft.verdicts.get('small').resize, draft.verdicts.get('large').resize], [null, refused]);
  draft.dispose();
});

test('a session that is joined is the only question', async () => {
  const asked = [];
  const settings = settingsOf(choices => {
    asked.push(choices);
    return choices.map(() => now);
  });
  const draft = new Draft(settings, offer, { session: 'shared' });
  await changedOf(draft);
  assert.deepStrictEqual(asked[0], [draft.choice]);
  assert.strictEqual(draft.choice.session, 'shared');
  draft.dispose();
});

test('an answer to an older question is not shown', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let answerFirst;
  const first = new Promise(resolve => (answerFirst = resolve));
  let questions = 0;
  const fetch = async request => {
    const isFirst = (questions += 1) === 1;
    const { choices } = JSON.parse(await request.text());
    if (isFirst) {
      await first;
    }
    const verdict = isFirst ? 'refused' : 'now';
    return new Response(JSON.stringify({ verdicts: choices.map(() => ({ ...now, verdict })) }));
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  const draft = new Draft(settings, offer, {});
  draft.choosePreset('large');
  t.mock.timers.tick(1000);
  await changedOf(draft);
  assert.strictEqual(draft.verdict.verdict, 'now');
  answerFirst();
  await new Promise(resolve => setImmediate(resolve));
  assert.strictEqual(draft.verdict.verdict, 'now');
  draft.dispose();
});

test('a new notebook is asked about as its user has set it', () => {
  const verdicts = ['now', 'wait', 'refused'].map(verdict => ({ ...now, verdict }));
  const asked = ask => [...verdicts, undefined].map(verdict => isToBeAsked(ask, verdict));
  assert.deepStrictEqual(asked('always'), [true, true, true, true]);
  assert.deepStrictEqual(asked('unless-now'), [false, true, true, false], 'a manager that is away is no reason');
  assert.deepStrictEqual(asked('never'), [false, false, false, false]);
});

test('what is left open is as the last time, but for amounts that were said of another preset', () => {
  const last = { preset: 'large', resources: { mem: '9g' }, mounts: ['data'] };
  assert.deepStrictEqual(over({ image: 'python' }, last), { image: 'python', ...last });
  assert.deepStrictEqual(over({ preset: 'small' }, last), { preset: 'small', mounts: ['data'] });
  assert.deepStrictEqual(over({ resources: { cpu: '1' } }, last), { resources: { cpu: '1' }, mounts: ['data'] });
});

test('a folder is mounted to write or to read', () => {
  assert.deepStrictEqual(readMount('data:ro'), { folder: 'data', access: 'ro' });
  assert.deepStrictEqual(readMount('data'), { folder: 'data', access: 'rw' });
  const mounts = ['a', 'b:ro'];
  assert.deepStrictEqual(mountsWith(mounts, 'c', 'ro'), ['a', 'b:ro', 'c:ro']);
  assert.deepStrictEqual(mountsWith(mounts, 'a', 'ro'), ['a:ro', 'b:ro']);
  assert.deepStrictEqual(mountsWith(mounts, 'b', 'rw'), ['a', 'b']);
  assert.deepStrictEqual(mountsWith(mounts, 'b', null), ['a']);
  assert.deepStrictEqual(mountsWith(mounts, 'c', null), mounts);

  const draft = new Draft(settingsOf(choices => choices.map(() => now)), offer, { mounts: ['data:ro'] });
  assert.deepStrictEqual([draft.accessTo('data'), draft.accessTo('other')], ['ro', null]);
  draft.mount('data', 'rw');
  assert.deepStrictEqual(draft.choice.mounts, ['data']);
  draft.dispose();
});

test('more memory leaves all else of a choice as it was', () => {
  const slots = { cpu: '2', mem: `${4 * GIB}`, 'cuda.shares': '0.5' };
  const image = 'python';
  assert.deepStrictEqual(withMemory({ image }, slots, 8 * GIB).resources, { cpu: '2', mem: '8g', 'cuda.shares': '0.5' });
  assert.deepStrictEqual(withMemory({ image, preset: 'small', session: 'joined' }, slots, 6.5 * GIB), {
    image,
    preset: 'small',
    resources: { mem: '6656m' }
  });
  const asked = { image, resources: { cpu: '1', mem: '4g' }, mounts: ['data'] };
  assert.deepStrictEqual(withMemory(asked, slots, 8 * GIB), { ...asked, resources: { cpu: '1', mem: '8g' } });
});

test('a run has a session of its own, and its notebook may be called anything', async () => {
  const choice = choiceToRun({ image: 'python', session: 'demo', mounts: ['data'] });
  assert.deepStrictEqual(choice, { image: 'python', mounts: ['data'] });
  const asked = [];
  const fetch = async request => {
    asked.push([request.method, new URL(request.url).pathname, await request.json()]);
    return new Response(JSON.stringify({ session: 's-1', name: 'a-1', result: 'b/a-result.ipynb' }), { status: 201 });
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  assert.strictEqual((await runNotebook(settings, 'b/a #1.ipynb', { choice, starts_at: '30m' })).name, 'a-1');
  assert.deepStrictEqual(asked, [['POST', '/bai/api/notebooks/b/a%20%231.ipynb/runs', { choice, starts_at: '30m' }]]);
});

test('what a server refuses to import is said in its words', async () => {
  const fetch = async request => {
    const { url, folder } = await request.json();
    const isThere = url.endsWith('.ipynb');
    const said = isThere ? { path: `${folder}/a.ipynb` } : { code: 'import-no-notebook', message: `${url} is none.` };
    return new Response(JSON.stringify(said), { status: isThere ? 201 : 400 });
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  assert.strictEqual(await importNotebook(settings, 'https://a.org/a.ipynb', 'sub'), 'sub/a.ipynb');
  await assert.rejects(importNotebook(settings, 'https://a.org/', ''), { message: 'https://a.org/ is none.' });
});
