/** Refusals in the words of forms. */

const assert = require('node:assert');
const { test } = require('node:test');

const { inWordsOf, resourceFields } = require('../lib/test/refusals.js');

const trans = { __: text => text };

test('a refusal begins with what the form calls the field', () => {
  const fields = [
    { name: 'idle_timeout', label: 'Stopped when idle for, such as 2 h' },
    { name: 'scheduler_opts.pending_timeout', label: 'Longest wait, such as 2 h' }
  ];
  assert.deepStrictEqual(
    [
      "idle_timeout: 'x' is not a time.",
      'scheduler_opts.pending_timeout: -1 is not a time.',
      'total: idle_timeout is not known.',
      'There is a user with the name idle_timeout already.',
      'At 12:30: too late.'
    ].map(sentence => inWordsOf(fields, sentence)),
    [
      "Stopped when idle for: 'x' is not a time.",
      'Longest wait: -1 is not a time.',
      'total: idle_timeout is not known.',
      'There is a user with the name idle_timeout already.',
      'At 12:30: too late.'
    ]
  );
});

test('what a kernel is asked for has the names of the dialog', () => {
  const said = path => inWordsOf(resourceFields(trans), `${path}: "x" is not right.`);
  assert.deepStrictEqual(
    ['config.resources.mem', 'choice.mounts', 'choices[0].resources', 'config.resources.rocm.device', 'parameters.lr'].map(said),
    ['Memory', 'Folders', 'Resources', 'Resources', 'Parameters'].map(label => `${label}: "x" is not right.`)
  );
});
