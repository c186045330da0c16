/** What becomes of a session's terminal whose connection has ended. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ApiError } = require('../lib/test/api.js');
const { nextOf, pauseAfter } = require('../lib/test/terminals.js');

const session = (status, text = null, more = {}) => ({ name: 'demo', status, reason: text && { code: 'c', text }, ...more });

test('a session that runs is dialled again, unless its shell alone has ended', () => {
  assert.deepStrictEqual(nextOf(session('RUNNING'), false), { do: 'dial' });
  assert.deepStrictEqual(nextOf(session('RUNNING'), true), { do: 'leave' });
});

test('a session that has ended says why, also if its shell was the first to', () => {
  for (const status of ['TERMINATED', 'CANCELLED', 'ERROR']) {
    const said = { do: 'end', why: 'demo: Ended by kim.' };
    assert.deepStrictEqual(nextOf(session(status, 'Ended by kim.'), true), said);
    assert.deepStrictEqual(nextOf(session(status, 'Ended by kim.'), false), said);
  }
  assert.deepStrictEqual(nextOf(new ApiError('not-found', 'There is no session.'), false), { do: 'end', why: 'There is no session.' });
});

test('who may not open terminals is told, and nothing is tried again', () => {
  assert.deepStrictEqual(nextOf(session('RUNNING'), false, 'You may not.'), { do: 'end', why: 'You may not.' });
  assert.deepStrictEqual(nextOf(session('TERMINATED'), false, 'You may not.'), { do: 'end', why: 'demo: TERMINATED' });
});

test('what may get well again is waited for', () => {
  assert.deepStrictEqual(nextOf(session('RESTARTING', 'Restarts.'), true), { do: 'wait', why: 'demo: Restarts.' });
  assert.deepStrictEqual(nextOf(session('TERMINATING'), true), { do: 'wait', why: 'demo: TERMINATING' });
  const silent = session('RUNNING', 'lab-3 is silent.', { unreachable: true });
  assert.deepStrictEqual(nextOf(silent, false), { do: 'wait', why: 'demo: lab-3 is silent.' });
  const away = new ApiError('server-away', 'The Jupyter server does not answer.');
  assert.deepStrictEqual(nextOf(away, true), { do: 'wait', why: 'The Jupyter server does not answer.' });
});

test('it is tried again at once, then less and less often', () => {
  assert.deepStrictEqual([0, 1, 2, 3, 4, 5, 50].map(pauseAfter), [0, 1, 2, 4, 8, 10, 10]);
});
