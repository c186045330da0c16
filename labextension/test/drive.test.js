/** The drive against a server that only this file plays. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ContentsManager, ServerConnection } = require('@jupyterlab/services');

const { FolderDrive, isPart, shows } = require('../lib/test/drive.js');

const AT = '2026-11-30T12:00:00Z';

function modelOf(path, more = {}) {
  const facts = { type: 'directory', writable: true, created: AT, last_modified: AT, mimetype: null };
  return { name: path.split('/').pop(), path, ...facts, content: null, format: null, ...more };
}

/** A contents manager with the drive; `answer(request, path below /bai/api)` gives the JSON of an answer or a refusal. */
function contentsOf(answer) {
  const fetch = async request => {
    const { pathname } = new URL(request.url);
    const [status, body] = await answer(request, decodeURIComponent(pathname).replace('/bai/api/', ''));
    return new Response(JSON.stringify(body), { status });
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  const contents = new ContentsManager({ serverSettings: settings });
  const drive = new FolderDrive(settings);
  contents.addDrive(drive);
  return { contents, drive };
}

test('what lies in a folder is asked of our server extension', async () => {
  const asked = [];
  const { contents } = contentsOf(async (request, path) => {
    asked.push(`${request.method} ${path}`);
    return [request.method === 'PUT' ? 201 : 200, modelOf('data/a b.txt', { type: 'file' })];
  });
  const { path, writable } = await contents.save('bai:data/a b.txt', { type: 'file', format: 'text', content: '' });
  assert.deepStrictEqual([path, writable, asked], ['bai:data/a b.txt', true, ['PUT contents/data/a b.txt']]);
  assert.strictEqual(await contents.getDownloadUrl(path), 'http://lab/bai/api/download/data/a%20b.txt');
});

test('a refusal is its sentence', async () => {
  const message = 'Folder data is read only for you. Ask lea@localhost.';
  const { contents } = contentsOf(async () => [403, { code: 'folder-ro', message }]);
  await assert.rejects(contents.get('bai:data/a.txt'), new RegExp(message));
});

test('a directory is listed by page, of what a search finds, and no further than it goes', async () => {
  const asked = [];
  let total = 2500;
  const { contents, drive } = contentsOf(async (request, path) => {
    const query = new URL(request.url).searchParams;
    const offset = Number(query.get('offset') ?? 0);
    asked.push(`${path} ${offset} ${query.get('match') ?? ''}`.trim());
    return [200, modelOf('data', { content: [modelOf('data/a')], format: 'json', total, offset, limit: 1000 })];
  });
  const open = path => contents.get(`bai:${path}`, { content: true });
  await open('data');
  assert.ok(isPart(drive.listing('data')));
  const page = { path: 'data', offset: 2000, match: '' };
  drive.turn(page);
  assert.ok(!shows(drive.listing('data'), page));
  await open('data');
  assert.ok(shows(drive.listing('data'), page));
  total = 1500;
  await open('data');
  assert.strictEqual(drive.listing('data').offset, 1000);
  drive.turn({ path: 'data', offset: 0, match: 'b' });
  total = 1;
  await open('data');
  assert.ok(isPart(drive.listing('data')));
  drive.turn(null);
  await open('data');
  assert.ok(!isPart(drive.listing('data')));
  assert.deepStrictEqual(asked, [
    'contents/data 0',
    'pages/data 2000',
    'pages/data 2000',
    'pages/data 1000',
    'pages/data 0 b',
    'contents/data 0'
  ]);
  assert.strictEqual(drive.listing('other'), null);
});
