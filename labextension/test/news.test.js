/** What is told of kernels whose notebooks are not in view, and how often. */

const assert = require('node:assert');
const { test } = require('node:test');

const { News } = require('../lib/test/news.js');

const SECOND = 1000;
const RUNNING = { status: 'RUNNING', reason: { code: 'running', text: 'Running on lab-3.' }, is_dead: false };
const PENDING = { status: 'PENDING', reason: { code: 'no-room', text: 'Waits.' }, is_dead: false };

function because(code, more = {}) {
  return { ...RUNNING, reason: { code, text: `${code}.` }, ...more };
}

/** The kinds of what is told of one kernel, of which this is heard at these seconds. */
function told(...heard) {
  const news = new News();
  return heard.map(([second, status]) => news.hear('k', status, second * SECOND)?.kind ?? null);
}

test('a kernel that waited is told to be ready', () => {
  assert.deepStrictEqual(told([0, PENDING], [5, { ...PENDING, status: 'PULLING' }], [12, RUNNING], [13, RUNNING]), [null, null, 'ready', null]);
  assert.deepStrictEqual(told([0, PENDING], [9, RUNNING]), [null, null], 'its user was there all the time');
  assert.deepStrictEqual(told([0, RUNNING]), [null], 'it ran before');
  assert.deepStrictEqual(told([0, PENDING], [20, { ...PENDING, status: 'CANCELLED' }], [30, RUNNING]), [null, null, null]);
});

test('that it stops is told once, and again if it was kept meanwhile', () => {
  const soon = because('idle-soon');
  assert.deepStrictEqual(told([0, RUNNING], [1, soon], [2, soon], [3, RUNNING], [4, soon]), [null, 'stops', null, null, 'stops']);
  assert.deepStrictEqual(told([0, soon]), ['stops'], 'also of a page that has just been opened');
  const news = new News();
  assert.strictEqual(news.hear('k', soon, 0).canKeep, true);
  assert.strictEqual(news.of('k').text, 'idle-soon.');
  assert.strictEqual(news.hear('k', because('lifetime-soon'), 1).canKeep, false);
  assert.strictEqual(news.hear('k', because('budget-soon'), 1).canKeep, false);
  assert.strictEqual(news.hear('k', because('drain-soon'), 2).canKeep, false);
  news.hear('k', RUNNING, 3);
  assert.strictEqual(news.of('k'), null);
});

test('that it ran out of memory is told once, whether its session goes on or not', () => {
  const dead = because('oom-killed', { is_dead: true });
  assert.deepStrictEqual(told([0, RUNNING], [1, dead], [2, dead]), [null, 'memory', null]);
  assert.deepStrictEqual(told([0, RUNNING], [1, { ...dead, status: 'TERMINATED' }]), [null, 'memory']);
  assert.deepStrictEqual(told([0, dead], [1, dead]), [null, null], 'it was so when the page was opened');
});
