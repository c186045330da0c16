/** What a session used in the last minutes. */

const assert = require('node:assert');
const { test } = require('node:test');

const { addPoints, describeTrace, lineOf, TRACE_S } = require('../lib/test/traces.js');

const fill = (text, args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text);
const trans = { _n: (one, many, n, ...args) => fill(n === 1 ? one : many, [n, ...args]) };

const traced = (...told) => told.reduce((traces, [at, parts]) => addPoints(traces, at, parts), new Map());

test('each goes back some minutes, also where it is not told of for a while', () => {
  const traces = traced([0, { cpu: 0.1, mem: 0.5, tt: 0 }], [TRACE_S - 1, { cpu: 0.2, mem: 0.5 }], [TRACE_S + 1, { cpu: 1.3 }]);
  assert.deepStrictEqual([...traces.keys()], ['cpu', 'mem']);
  assert.deepStrictEqual(traces.get('mem'), [{ at: TRACE_S - 1, part: 0.5 }]);
  assert.deepStrictEqual(traces.get('cpu'), [
    { at: TRACE_S - 1, part: 0.2 },
    { at: TRACE_S + 1, part: 1 }
  ]);
  assert.equal(traced([5, { cpu: 0 }], [5, { cpu: 0.3 }]).get('cpu').length, 1, 'the same answer once more');
});

test('a line ends now, and has a gap where nobody looked', () => {
  const line = (...points) => lineOf(points.map(([at, part]) => ({ at, part })));
  assert.equal(line(), '');
  assert.equal(line([7, 0.5]), '');
  assert.equal(line([10, 0], [12, 0.25]), 'M0.9667 1L1 0.75');
  assert.equal(line([10, 0], [12, 0.5], [108, 1], [110, 1]), 'M0 1L0.02 0.5M0.98 0L1 0');
  assert.equal(line([10, 0], [112, 1]), '', 'points without a line');
});

test('a sentence says the same', () => {
  const said = (...points) => describeTrace(points.map(([at, part]) => ({ at, part })), trans);
  assert.equal(said([0, 0.9], [2, 0.05], [50, 0.5]), 'In the last minute between 5 % and 90 %');
  assert.equal(said([0, 0.1], [200, 0.1]), 'In the last 4 min between 10 % and 10 %');
});
