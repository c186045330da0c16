/** What a session uses of what it has. */

const assert = require('node:assert');
const { test } = require('node:test');
const { Signal } = require('@lumino/signaling');
const { addSample, describeDoing, describeUse, deviceUses, kindsOf, meanOf, partsOf, Use } = require('../lib/test/use.js');

/** As Lab's, in English. */
const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };
const GIB = 1024 ** 3;

function session(liveStat, more = {}) {
  return { id: 's', slots: { cpu: '2', mem: `${4 * GIB}` }, liveStat, ...more };
}

test('CPU and memory are told of their limits, accelerators as far as they are measured', () => {
  const own = { cpu_used_s: 3, mem_used_bytes: 1.2 * GIB, mem_limit_bytes: null };
  assert.strictEqual(describeUse(session(null), null, trans), '');
  assert.strictEqual(describeUse(session(own), null, trans), '1.2 of 4 GiB');
  assert.strictEqual(describeUse(session(own), 0.84, trans), '0.8 of 2 CPU · 1.2 of 4 GiB');
  assert.strictEqual(describeUse(session({ cpu_used_s: 3 }), 2.3, trans), '2 of 2 CPU', 'counted late, not more than there is');
  const limited = { mem_used_bytes: GIB, mem_limit_bytes: 2 * GIB };
  assert.strictEqual(describeUse(session(limited), null, trans), '1 of 2 GiB', 'what the engine limits it to counts');
  const gpu = { cuda_util_pct: 41.7, cuda_mem_used_bytes: 1.5 * GIB, cuda_mem_total_bytes: 8 * GIB, cuda_power_w: 250.4 };
  assert.strictEqual(describeUse(session(gpu), null, trans), 'GPU 42 %, 1.5 of 8 GiB, 250 W');
  assert.strictEqual(describeUse(session({ tt_n300_util_pct: 5, tt_n300_mem_used_bytes: 7 }), null, trans), 'tt n300 5 %');
});

test('what is used is a part of what there is; of an accelerator how busy it is, else how full', () => {
  const own = { cpu_used_s: 3, mem_used_bytes: GIB, mem_limit_bytes: null };
  assert.deepStrictEqual(partsOf(session(null), null), {});
  assert.deepStrictEqual(partsOf(session(own), 0.5), { cpu: 0.25, mem: 0.25 });
  const two = { cuda_util_pct: 42, cuda_mem_used_bytes: GIB, cuda_mem_total_bytes: 4 * GIB, tt_mem_used_bytes: GIB, tt_mem_total_bytes: 2 * GIB };
  assert.deepStrictEqual(partsOf(session(two), null), { cuda: 0.42, tt: 0.5 });
  assert.deepStrictEqual([kindsOf(session(two)), deviceUses(session(two), trans)], [
    ['cuda', 'tt'],
    ['GPU 42 %, 1 of 4 GiB', 'tt 1 of 2 GiB']
  ]);
});

test('CPU use is the mean of the last seconds, and of one container', () => {
  const counted = (...samples) => samples.map(([at, used]) => ({ at, used })).reduce(addSample, []);
  assert.strictEqual(meanOf(counted([0, 7])), null);
  assert.strictEqual(meanOf(counted([0, 0], [2, 3])), 1.5);
  assert.strictEqual(meanOf(counted([0, 100], [20, 100], [22, 101])), 0.5, 'what was long ago is forgotten');
  assert.strictEqual(meanOf(counted([0, 100], [2, 1], [4, 2])), 0.5, 'another container begins anew');
  assert.strictEqual(meanOf(counted([0, 1], [0, 1])), null, 'the same answer once more');
});

test('the list of sessions is watched while one is followed, and what is not of now is not told', () => {
  const sessions = { watchers: 0, value: null, error: null, updatedAt: null };
  sessions.changed = new Signal(sessions);
  sessions.watch = () => (sessions.watchers += 1);
  sessions.unwatch = () => (sessions.watchers -= 1);
  const come = (value, error, at) => {
    Object.assign(sessions, { value, error, updatedAt: new Date(1000 * at) });
    sessions.changed.emit();
  };
  const use = new Use(sessions);
  assert.strictEqual(sessions.watchers, 0);
  use.follow('s');
  use.follow('s');
  assert.strictEqual(sessions.watchers, 1);
  come([session({ cpu_used_s: 1 })], null, 10);
  come([session({ cpu_used_s: 2 })], null, 12);
  assert.deepStrictEqual([use.session?.id, use.cpus], ['s', 0.5]);
  assert.deepStrictEqual(use.traces.get('cpu'), [{ at: 12, part: 0.25 }]);

  come(sessions.value, new Error('away'), 12);
  assert.strictEqual(use.session, null);
  come(sessions.value, null, 14);
  use.follow('another');
  assert.deepStrictEqual([sessions.watchers, use.session, use.cpus, use.traces.size], [1, null, null, 0]);
  use.follow(null);
  assert.strictEqual(sessions.watchers, 0);
  use.follow('s');
  assert.deepStrictEqual(use.traces.get('cpu'), [{ at: 12, part: 0.25 }], 'what was seen of it before');
});

test('what a kernel does is said as long as it does it', () => {
  const said = (execution, minutes) => describeDoing(execution, minutes * 60000, trans);
  assert.deepStrictEqual([said('idle', 7), said('busy', 0.9), said('busy', 3.5), said('busy', 125)], [
    'idle',
    'busy',
    'busy for 3 min',
    'busy for 2 h'
  ]);
  assert.strictEqual(said('starting', 1), '', 'its state says that');
});
