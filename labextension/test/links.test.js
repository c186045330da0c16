/** What a link asks for is taken out of the page's address, and nothing else is. */

const assert = require('node:assert');
const { test } = require('node:test');

const { split } = require('../lib/test/links.js');

const LAB = 'https://hub.example/user/kim/lab/tree/a%20b.ipynb';
const NOTEBOOK = 'https://example.org/a.ipynb?raw=1';

for (const [given, address, asked] of [
  [`?bai-import=${encodeURIComponent(NOTEBOOK)}`, '', NOTEBOOK],
  [`?reset&bai-import=${encodeURIComponent(NOTEBOOK)}&clone=x%20y#at`, '?reset&clone=x%20y#at', NOTEBOOK],
  ['?bai%2Dimport=a&bai-import=b', '', 'a'],
  ['?bai-import=', '', null],
  ['?bai-imports=a', '?bai-imports=a', null],
  ['', '', null]
]) {
  test(`in ${given || 'an address without a query'}`, () => {
    assert.deepStrictEqual(split(LAB + given), { address: LAB + address, asked });
  });
}
