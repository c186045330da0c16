/** What is said of saved variables. */

const assert = require('node:assert');
const { test } = require('node:test');

const { describeSave, describeSaved } = require('../lib/test/variables.js');

const format = (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text);
const trans = { __: format, _n: (one, many, count, ...args) => format(count === 1 ? one : many, count, ...args) };

const save = { jupyter_kernel_id: 'k', refused: null, variables: 1, bytes: 2048, left_out: [], doubtful: [] };

test('what was saved, what was not and why, and a refusal', () => {
  assert.deepStrictEqual(describeSave(save, trans), { isWhole: true, text: 'saved 1 variable, 2 KiB.' });
  const left_out = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map(name => ({ name, why: 'an open file' }));
  const { isWhole, text } = describeSave({ ...save, left_out, doubtful: [{ name: 'x', why: 'from a GPU' }] }, trans);
  assert.strictEqual(isWhole, false);
  assert.match(text, /Not saved: a \(an open file\), .*e \(an open file\), and 2 more\. Doubtful: x \(from a GPU\)\.$/);
  const refused = { code: 'save-busy', text: 'Something runs in it.' };
  assert.deepStrictEqual(describeSave({ ...save, refused }, trans), { isWhole: false, text: 'Something runs in it.' });
});

test('kernels of which the same would be said are told apart', () => {
  const one = { session: 's', name: 'demo', kernel: 'k-1', at: '2026-11-30T14:05:10+00:00', variables: 3, bytes: 10 };
  const twin = { ...one, kernel: 'k-2', at: '2026-11-30T14:05:20+00:00' };
  const other = { ...one, name: 'else' };
  const said = [one, twin, other].map(each => describeSaved(each, [one, twin, other], trans));
  assert.match(said[0], /^demo · 3 variables, 10 B · .* · k-1$/);
  assert.match(said[1], / · k-2$/);
  assert.doesNotMatch(said[2], /k-1/);
});
