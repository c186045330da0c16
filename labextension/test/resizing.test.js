/** When a choice is other amounts of CPU and memory for a session that runs, and nothing else. */

const assert = require('node:assert');
const { test } = require('node:test');

const { resizeTo, withAmountsOf } = require('../lib/test/resizing.js');

const GIB = 1024 ** 3;
const session = {
  status: 'RUNNING',
  isolated: true,
  unreachable: false,
  image: 'python',
  slots: { cpu: '2', mem: `${4 * GIB}` },
  mounts: [{ name: 'home' }, { name: 'data' }]
};
const withGpu = { ...session, slots: { ...session.slots, 'cuda.shares': '0.5' } };
const presets = [
  { name: 'small', resource_slots: { cpu: '1', mem: `${2 * GIB}` } },
  { name: 'gpu', resource_slots: { cpu: '4', mem: `${4 * GIB}`, 'cuda.shares': '0.5' } },
  { name: 'cores', resource_slots: { cpu: '8' } }
];
const before = { image: 'python', kernelspec: 'python3', preset: 'medium', mounts: ['data'] };

function resized(part, of = session, from = before) {
  return resizeTo(of, from, { ...from, preset: undefined, ...part }, presets);
}

test('only what differs in CPU and memory is asked for, up and down', () => {
  assert.deepStrictEqual(resized({ resources: { cpu: '4', mem: '8g' } }), { cpu: '4', mem: `${8 * GIB}` });
  assert.deepStrictEqual(resized({ resources: { cpu: '2', mem: '1g' } }), { mem: `${GIB}` });
  assert.deepStrictEqual(resized({ preset: 'small' }), { cpu: '1', mem: `${2 * GIB}` });
  assert.deepStrictEqual(resized({ preset: 'cores' }), { cpu: '8' });
  assert.deepStrictEqual(resized({ preset: 'gpu' }, withGpu), { cpu: '4' });
});

test('anything else needs a restart, and so does nothing at all', () => {
  const amounts = { resources: { cpu: '4', mem: '8g' } };
  assert.strictEqual(resized({ resources: { cpu: '2', mem: '4g' } }), null);
  assert.strictEqual(resized({ preset: 'gone' }), null);
  assert.strictEqual(resized({ preset: 'gpu' }), null);
  assert.strictEqual(resized(amounts, withGpu), null);
  for (const other of [
    { image: 'r' },
    { kernelspec: 'xpython' },
    { mounts: ['data', 'more'] },
    { mounts: [] },
    { resource_group: 'gpu' },
    { project: 'vision' },
    { session: 'shared' }
  ]) {
    assert.strictEqual(resized({ ...amounts, ...other }), null, JSON.stringify(other));
  }
});

test('a session that cannot be changed as it runs', () => {
  const amounts = { resources: { cpu: '4', mem: '8g' } };
  for (const fact of [{ status: 'PENDING' }, { isolated: false }, { isolated: null }, { unreachable: true }]) {
    assert.strictEqual(resized(amounts, { ...session, ...fact }), null, JSON.stringify(fact));
  }
});

test('a folder that was asked for and never came is no reason to restart if it is not asked for any more', () => {
  const asked = { ...before, mounts: ['data', 'later'] };
  assert.deepStrictEqual(resized({ preset: 'cores', mounts: ['data'] }, session, asked), { cpu: '8' });
  assert.strictEqual(resized({ preset: 'cores' }, session, asked), null);
});

test('a folder that is mounted read only stays so, and the other access needs a restart', () => {
  const amounts = { resources: { cpu: '4', mem: '4g' } };
  const mounted = isReadOnly => ({ ...session, mounts: [{ name: 'data', read_only: isReadOnly }] });
  const reading = { ...before, mounts: ['data:ro'] };
  assert.deepStrictEqual(resized(amounts, mounted(true), reading), { cpu: '4' });
  assert.strictEqual(resized({ ...amounts, mounts: ['data'] }, mounted(true), reading), null);
  assert.strictEqual(resized({ ...amounts, mounts: ['data:ro'] }, mounted(false)), null);
  assert.strictEqual(resized({ ...amounts, mounts: [] }, mounted(true), reading), null);
  assert.deepStrictEqual(resized(amounts, mounted(true)), { cpu: '4' }); // its owner lets it be read only
});

test('a choice that leaves amounts open begins with what is there', () => {
  const open = { image: 'python' };
  assert.deepStrictEqual(withAmountsOf(session, open, presets), { ...open, resources: { cpu: '2', mem: '4g' } });
  const small = { ...session, slots: { cpu: '1', mem: `${2 * GIB}`, 'cuda.shares': '0' } };
  assert.deepStrictEqual(withAmountsOf(small, open, presets), { ...open, preset: 'small' });
  for (const asked of [{ preset: 'gpu' }, { resources: { cpu: '1' } }, { session: 'shared' }]) {
    assert.deepStrictEqual(withAmountsOf(session, asked, presets), asked);
  }
});
