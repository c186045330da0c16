/** What is said of a run of a notebook. */

const assert = require('node:assert');
const { test } = require('node:test');

const { readParameters, readRun } = require('../lib/test/runs.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };

test('parameters are read line by line, as JSON or as Python has it', () => {
  const text = '# of the second run\n\nepochs = 10\nname="a = b"\nfast = True\nnone = None\nlayers = [64, 32.5]';
  const read = { epochs: 10, name: 'a = b', fast: true, none: null, layers: [64, 32.5] };
  assert.deepStrictEqual(readParameters(text, trans), read);
});

for (const [text, sentence] of [
  ['epochs', 'not written as name = value'],
  ['epochs =', 'not written as name = value'],
  ['epochs = ten', 'epochs is ten, which is neither'],
  ['a = 1\na = 2', 'a is set twice']
]) {
  test(`not ${JSON.stringify(text)}`, () => {
    assert.throws(() => readParameters(text, trans), new RegExp(sentence));
  });
}

test('only what is said is asked for, and a time is of this time zone', () => {
  assert.deepStrictEqual(readRun({ startsAt: '', parameters: '' }, trans), {});
  const startsAt = '2026-11-30T18:00';
  const asked = { parameters: { a: 1 }, starts_at: new Date(startsAt).toISOString() };
  assert.deepStrictEqual(readRun({ startsAt, parameters: 'a = 1' }, trans), asked);
});
