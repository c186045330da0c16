/** A page that is older or newer than its server says so. */

const assert = require('node:assert');
const { test } = require('node:test');
const { mismatchOf, VERSION } = require('../lib/test/versions.js');

const trans = { __: (text, ...args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text) };

test('only versions that differ are told', () => {
  assert.strictEqual(mismatchOf(null, trans), null);
  assert.strictEqual(mismatchOf(VERSION, trans), null);
  assert.match(mismatchOf('9.9.9', trans), new RegExp(`version ${VERSION} of the panel .* version 9.9.9: reload the page`));
});
