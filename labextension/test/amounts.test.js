/** What is said of amounts, of limits, and of presets that do not start. */

const assert = require('node:assert');
const { test } = require('node:test');
const { describeCost, describeHeld, describeSlots, formatPart, formatSize, grownMemory, levelsOf, whyNot } = require('../lib/test/amounts.js');

/** As Lab's, in English. */
const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };
const GIB = 1024 ** 3;
const none = { cpu: 'Infinity', mem: 'Infinity' };
const capacity = {
  keypair_limits: none,
  keypair_using: { cpu: '3', mem: '0' },
  user_limits: none,
  user_using: {},
  group_limits: { mem: `${8 * GIB}`, cpu: '4' },
  group_using: { cpu: '3', mem: `${1.5 * GIB}` },
  domain_limits: { cpu: 'Infinity' },
  domain_using: {},
  budgets: [],
  scaling_groups: { default: { using: {}, remaining: { cpu: '1', mem: '0' } } },
  presets: []
};
const preset = resource_slots => ({ name: 'p', resource_slots, allocatable: false });

test('sizes are in binary units with one decimal at most', () => {
  assert.deepStrictEqual([0, 1023, 1024, 1.5 * GIB, 5000 * 1024 ** 4].map(formatSize), [
    '0 B',
    '1023 B',
    '1 KiB',
    '1.5 GiB',
    '5000 TiB'
  ]);
  assert.strictEqual(formatPart(512 * 1024 ** 2, 8 * GIB, trans), '0.5 of 8 GiB');
  assert.strictEqual(formatPart(43 * 1024 ** 2, 2 * GIB, trans), '43 MiB of 2 GiB');
  assert.strictEqual(formatPart(0, 2 * GIB, trans), '0 of 2 GiB');
});

test('slots come in order, without those that are none', () => {
  const slots = { 'cuda.shares': '0.5', mem: `${8 * GIB}`, cpu: '2', 'rocm.device': '0' };
  assert.strictEqual(describeSlots(slots), '2 CPU · 8 GiB · 0.5 GPU');
});

test('of several containers what they hold together is told', () => {
  const session = { slots: { cpu: '2', mem: `${1.5 * GIB}` }, clusterSize: 3 };
  assert.strictEqual(describeHeld(session, trans), '6 CPU · 4.5 GiB · 3 containers');
  assert.strictEqual(describeHeld({ ...session, clusterSize: 1 }, trans), '2 CPU · 1.5 GiB');
});

test('cost is what was held for how long', () => {
  const slots = { cpu: '2', mem: `${8 * GIB}`, 'cuda.shares': '0.5' };
  assert.strictEqual(describeCost(slots, 42 * 60_000, trans), '1.4 core-hours · 5.6 GiB-hours · 0.35 GPU-hours');
  assert.strictEqual(describeCost(slots, 0, trans), '');
});

test('only levels that limit something are told, CPU first', () => {
  const [level, ...others] = levelsOf(capacity, trans);
  assert.deepStrictEqual(others, []);
  assert.strictEqual(level.name, 'Your project');
  assert.deepStrictEqual(
    level.uses.map(use => use.text),
    ['3 of 4 CPU', '1.5 of 8 GiB']
  );
});

test('a preset that does not start says why', () => {
  assert.strictEqual(whyNot(preset({ cpu: '2' }), capacity, trans), 'Over a limit: Your project, 3 of 4 CPU in use.');
  assert.strictEqual(whyNot(preset({ cpu: '1', 'cuda.device': '1' }), capacity, trans), 'No agent offers GPU.');
  assert.match(whyNot(preset({ cpu: '1', mem: '1' }), capacity, trans), /^Waits until an agent/);
});

test('a budget is told beside the other limits of its level, and why a preset with accelerators waits', () => {
  const budget = (gpu_hours_used, level = 'user') => ({ level, gpu_hours_limit: 10, gpu_hours_used, resets_at: '2026-01-19T00:00:00+00:00' });
  const of = budgets => ({ ...capacity, budgets, scaling_groups: { a: { using: {}, remaining: { cpu: '9', 'cuda.device': '2' } } } });
  const [you, project] = levelsOf(of([budget(3.504), budget(1, 'group')]), trans);
  assert.deepStrictEqual([you.name, you.uses.length, project.uses.length], ['You', 0, 2]);
  assert.match(you.budget.text, /^3\.5 of 10 GPU-h this week, resets (Sun|Mon) /);
  const gpu = preset({ cpu: '1', 'cuda.device': '1' });
  assert.match(whyNot(gpu, of([budget(9.99)]), trans), /^Waits until an agent/);
  assert.match(whyNot(gpu, of([budget(10)]), trans), /^Over a limit: You, 10 of 10 GPU-h this week, resets /);
  assert.match(whyNot(preset({ cpu: '1' }), of([budget(10)]), trans), /^Waits until an agent/);
});

test('a session grows to twice its memory, or to what the tightest limit leaves', () => {
  assert.strictEqual(grownMemory(2 * GIB, 2 * GIB, capacity), 4 * GIB);
  assert.strictEqual(grownMemory(7 * GIB, 7 * GIB, capacity), 13.5 * GIB);
  assert.strictEqual(grownMemory(4 * GIB, 0, capacity), 6.5 * GIB, 'what has ended counts no more');
  const full = { ...capacity, keypair_limits: { mem: `${GIB}` }, keypair_using: { mem: `${GIB - 1}` } };
  assert.strictEqual(grownMemory(GIB, GIB, full), 2 * GIB);
});
