/** What a link asks for is taken out of the page's address, and nothing else is. */

const assert = require('node:assert');
const { test } = require('node:test');

const { badgeFor, labUrl, split } = require('../lib/test/links.js');

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

test('a badge leads to a Lab that asks about the notebook, behind a Hub to the reader\'s own', () => {
  const lab = labUrl('https://hub.example/user/kim/', '', '/hub/');
  assert.strictEqual(lab, 'https://hub.example/hub/user-redirect/lab');
  assert.strictEqual(labUrl('http://lab.example/a/', '', ''), 'http://lab.example/a/lab');
  assert.strictEqual(labUrl('https://kim.example/user/kim/', 'https://hub.example', '/hub'), lab);
  const notebook = 'https://example.org/a (1).ipynb?raw=1&b';
  const link = /^\[!\[Open in JupyterLab\]\([^()]*\)\]\(([^()]*)\)$/.exec(badgeFor(lab, notebook))[1];
  assert.deepStrictEqual(split(link), { address: lab, asked: notebook });
});
