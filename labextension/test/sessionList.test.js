/** Which sessions the panel shows of many. */

const assert = require('node:assert');
const { test } = require('node:test');

const { isLong, sessionsWith } = require('../lib/test/sessionList.js');

const SESSIONS = [
  { name: 'demo', image: 'python:3.11', status: 'Running' },
  { name: 'train-7', image: 'pytorch:2.3', status: 'Queued, 3rd' },
  { name: 'running-late', image: 'pytorch:2.3', status: 'Ending' }
];

const found = text => sessionsWith(text, SESSIONS, one => one.status).map(one => one.name);

test('a handful is seen as a whole', () => {
  assert.equal(isLong(Array(5)), false);
  assert.equal(isLong(Array(6)), true);
});

test('sessions are found by name, environment and the word of their state', () => {
  assert.deepEqual(found('TRAIN'), ['train-7']);
  assert.deepEqual(found('pytorch'), ['train-7', 'running-late']);
  assert.deepEqual(found('running'), ['demo', 'running-late']);
  assert.deepEqual(found('  '), ['demo', 'train-7', 'running-late']);
  assert.deepEqual(found('gone'), []);
});

test('each word is looked for by itself, and none across two of them', () => {
  assert.deepEqual(found('queued pytorch'), ['train-7']);
  assert.deepEqual(found('queued python'), []);
  assert.deepEqual(found('demopython'), []);
});
