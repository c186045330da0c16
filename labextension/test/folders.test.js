/** Uploads and listings against a server that only this file plays. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { filesIn } = require('../lib/test/drops.js');
const { Files, isMountOf, togetherIn, Uploads } = require('../lib/test/folders.js');

const MIB = 1024 ** 2;
const folder = { id: 'f', name: 'data' };

/** `answer(request, path)` gives the JSON of an answer, or throws as a broken connection does. */
function settingsOf(answer) {
  const fetch = async request => {
    const { pathname } = new URL(request.url);
    const body = await answer(request, pathname.replace('/bai/api/', ''));
    return new Response(body === null ? null : JSON.stringify(body), { status: body === null ? 204 : 200 });
  };
  return ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
}

/** As the browser's, for as long as a tab lives. */
function storageOf(kept = {}) {
  return { getItem: key => kept[key] ?? null, setItem: (key, value) => void (kept[key] = value) };
}

function fileOf(size, name = 'a.bin') {
  return new File([new Uint8Array(size)], name);
}

function next(signal) {
  return new Promise(resolve => {
    const slot = () => {
      signal.disconnect(slot);
      resolve();
    };
    signal.connect(slot);
  });
}

test('of two folders that are called the same, each has its own mounts', () => {
  const own = { folder: '1', name: 'data' };
  assert.deepStrictEqual(['1', '2'].map(id => isMountOf(own, { id, name: 'data' })), [true, false]);
  const home = { folder: null, name: 'home' };
  assert.deepStrictEqual(['home', 'data'].map(name => isMountOf(home, { id: '3', name })), [true, false]);
});

test('what all folders of an owner on a volume may hold is said once, for those who may know what they do', () => {
  const of = (id, host, isMine, used, limit = 10, kind = 'hard') => ({
    ...{ quota_scope_id: id, host, isMine, quota_scope_used: used },
    ...{ quota_scope_max_size: limit, quota_scope_kind: limit && kind }
  });
  const shared = of('user:kim', 'nas', false, null);
  const project = of('project:vision', 'nas', false, 7, 10, 'soft');
  const [home, data, more] = ['local', 'nas', 'nas'].map(host => of('user:me', host, true, host === 'nas' ? 3 : 1));
  const found = togetherIn([shared, project, home, data, more, of('user:lee', 'nas', true, null, null)]);
  assert.deepStrictEqual(found, [
    { folder: home, used: 1, limit: 10, isHard: true },
    { folder: data, used: 3, limit: 10, isHard: true },
    { folder: project, used: 7, limit: 10, isHard: false }
  ]);
});

test('an upload goes on from what has come', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const offsets = [];
  let isBroken = false;
  const settings = settingsOf(async (request, path) => {
    if (path === 'folders/f/uploads') {
      return { token: 'secret' };
    }
    assert.strictEqual(request.headers.get('Upload-Token'), 'secret');
    if (request.method === 'GET') {
      return { offset: 5 * MIB };
    }
    const offset = Number(request.headers.get('Upload-Offset'));
    offsets.push(offset);
    if (offset === 4 * MIB && !isBroken) {
      isBroken = true;
      throw new TypeError('broken');
    }
    return { offset: offset + (await request.arrayBuffer()).byteLength };
  });
  const uploads = new Uploads(settings, storageOf());
  const sent = uploads.start(folder, 'a.bin', fileOf(10 * MIB));
  while (!uploads.list[0].isWaiting) {
    await next(uploads.changed);
  }
  t.mock.timers.tick(2000);
  await sent;
  assert.deepStrictEqual(offsets, [0, 4 * MIB, 5 * MIB, 9 * MIB]);
  assert.deepStrictEqual(uploads.list, []);
});

test('one file after the other; a refusal stays, and holds nobody up', async () => {
  const asked = [];
  const settings = settingsOf(async (request, path) => {
    asked.push(`${request.method} ${path}`);
    if (path === 'folders/f/uploads') {
      const { size } = await request.json();
      return { token: `${size}` };
    }
    return { offset: Number(request.headers.get('Upload-Token')) };
  });
  const refusing = { ...settings, fetch: request => (asked.length === 0 ? refuse(asked) : settings.fetch(request)) };
  const uploads = new Uploads(refusing, storageOf());
  await Promise.all(['x', 'y', 'z'].map(name => uploads.start(folder, name, fileOf(1, name))));
  const each = ['POST folders/f/uploads', 'PATCH uploads'];
  assert.deepStrictEqual(asked, ['refused', ...each, ...each]);
  assert.deepStrictEqual(
    uploads.list.map(upload => [upload.path, upload.error]),
    [['x', 'Too much.']]
  );
});

async function refuse(asked) {
  asked.push('refused');
  return new Response(JSON.stringify({ code: 'quota-reached', message: 'Too much.' }), { status: 412 });
}

test('a cancelled upload is dropped', async () => {
  const asked = [];
  let uploads;
  const settings = settingsOf(async (request, path) => {
    asked.push(`${request.method} ${path}`);
    if (request.method === 'PATCH') {
      uploads.remove(uploads.list[0]);
      return { offset: 4 * MIB };
    }
    return request.method === 'DELETE' ? null : { token: 'secret' };
  });
  uploads = new Uploads(settings, storageOf());
  await uploads.start(folder, 'a.bin', fileOf(10 * MIB));
  assert.deepStrictEqual(asked, ['POST folders/f/uploads', 'PATCH uploads', 'DELETE uploads']);
  assert.deepStrictEqual(uploads.list, []);
});

test('an upload that a reload stopped goes on with the same file, and only with that', async () => {
  const asked = [];
  const settings = settingsOf(async (request, path) => {
    asked.push(`${request.method} ${path} ${request.headers.get('Upload-Offset') ?? ''}`.trim());
    if (request.method === 'PATCH' && asked.length === 2) {
      return new Promise(() => undefined); // the page goes away
    }
    if (request.method === 'GET') {
      return { offset: 4 * MIB };
    }
    if (request.method === 'PATCH') {
      const body = await request.arrayBuffer();
      return { offset: Number(request.headers.get('Upload-Offset')) + body.byteLength };
    }
    return request.method === 'DELETE' ? null : { token: 'secret' };
  });
  const storage = storageOf();
  const file = new File([new Uint8Array(5 * MIB)], 'a.bin', { lastModified: 7 });
  const before = new Uploads(settings, storage);
  void before.start(folder, 'a.bin', file);
  while (asked.length < 2) {
    await new Promise(setImmediate);
  }

  const after = new Uploads(settings, storage);
  const [begun] = after.begun;
  assert.deepStrictEqual([begun.path, begun.token], ['a.bin', 'secret']);
  const other = new File([new Uint8Array(5 * MIB)], 'a.bin', { lastModified: 8 });
  await assert.rejects(after.resume(begun, folder, other, 'another'), /another/);
  await after.resume(begun, folder, file, 'another');
  assert.deepStrictEqual(asked.slice(2), ['GET uploads', `PATCH uploads ${4 * MIB}`]);
  assert.deepStrictEqual([after.begun, after.list, new Uploads(settings, storage).begun], [[], [], []]);
});

test('a late answer about another directory is not shown', async () => {
  const waiting = new Map();
  const settings = settingsOf(
    request => new Promise(resolve => waiting.set(new URL(request.url).searchParams.get('path'), resolve))
  );
  const files = new Files(settings);
  files.intervalSeconds = 0.1; // the timer of the next question keeps this process
  files.folder = folder;
  files.watch();
  while (!waiting.has('')) {
    await new Promise(setImmediate);
  }
  files.open(folder, 'raw');
  while (!waiting.has('raw')) {
    await new Promise(setImmediate);
  }
  waiting.get('raw')({ items: [{ name: 'new' }], total: 1, offset: 0 });
  waiting.get('')({ items: [{ name: 'old' }], total: 1, offset: 0 });
  while (files.value === null) {
    await next(files.changed);
  }
  await new Promise(setImmediate);
  assert.strictEqual(files.value.items[0].name, 'new');
  files.dispose();
});

test('an upload that is paused goes on from what has come', async () => {
  const asked = [];
  let uploads;
  const settings = settingsOf(async (request, path) => {
    const offset = request.headers.get('Upload-Offset');
    asked.push(`${request.method} ${path}${offset === null ? '' : ` ${offset}`}`);
    if (request.method === 'GET') {
      return { offset: 5 * MIB };
    }
    if (request.method === 'PATCH') {
      if (offset === '4194304') {
        uploads.pause(uploads.list[0]);
      }
      return { offset: Number(offset) + (await request.arrayBuffer()).byteLength };
    }
    return { token: 'secret' };
  });
  uploads = new Uploads(settings, storageOf());
  await uploads.start(folder, 'a.bin', fileOf(10 * MIB));
  const before = ['POST folders/f/uploads', 'PATCH uploads 0', 'PATCH uploads 4194304'];
  assert.deepStrictEqual(asked, before);
  const [upload] = uploads.list;
  assert.deepStrictEqual([upload.isPaused, upload.error], [true, null]);
  await uploads.goOn(upload);
  assert.deepStrictEqual(asked.slice(3), ['GET uploads', 'PATCH uploads 5242880', 'PATCH uploads 9437184']);
  assert.deepStrictEqual(uploads.list, []);
});

test('a paused upload that is cancelled is dropped, one that failed begins again', async () => {
  const asked = [];
  let uploads;
  const settings = settingsOf(async (request, path) => {
    asked.push(`${request.method} ${path}`);
    if (request.method === 'PATCH') {
      uploads.pause(uploads.list[0]);
      return { offset: 4 * MIB };
    }
    return request.method === 'DELETE' ? null : { token: 'secret' };
  });
  uploads = new Uploads(settings, storageOf());
  await uploads.start(folder, 'a.bin', fileOf(10 * MIB));
  uploads.remove(uploads.list[0]);
  assert.deepStrictEqual(asked, ['POST folders/f/uploads', 'PATCH uploads', 'DELETE uploads']);

  let isFull = true;
  const refusing = {
    ...settings,
    fetch: async request => (isFull ? refuse(asked) : new Response(JSON.stringify({ token: 'x', offset: 1 })))
  };
  uploads = new Uploads(refusing, storageOf());
  await uploads.start(folder, 'b.bin', fileOf(1));
  assert.strictEqual(uploads.list[0].error, 'Too much.');
  isFull = false;
  await uploads.goOn(uploads.list[0]);
  assert.deepStrictEqual(uploads.list, []);
});

test('directories of what is dropped are made once, before their files', async () => {
  const asked = [];
  const settings = settingsOf(async (request, path) => {
    const { path: of } = await request.json();
    asked.push(`${path.split('/').at(-1)} ${of}`);
    return path.endsWith('uploads') ? { token: 'secret' } : null;
  });
  const uploads = new Uploads(settings, storageOf());
  const paths = ['top.bin', 'in/a.bin', 'in/b.bin', 'in/deep/c.bin'];
  await uploads.startAll(folder, 'raw', paths.map(path => ({ path, file: fileOf(0) })));
  assert.deepStrictEqual(asked, [
    'uploads raw/top.bin',
    'directories raw/in',
    'uploads raw/in/a.bin',
    'uploads raw/in/b.bin',
    'directories raw/in/deep',
    'uploads raw/in/deep/c.bin'
  ]);
});

test('a directory that is dropped is read in all its batches', async () => {
  const file = fullPath => ({ isFile: true, fullPath, file: resolve => resolve(fileOf(1, fullPath)) });
  const directory = (fullPath, ...batches) => ({
    isDirectory: true,
    fullPath,
    createReader: () => ({ readEntries: resolve => resolve(batches.shift() ?? []) })
  });
  const dropped = [
    file('/top'),
    directory('/d', [file('/d/1'), directory('/d/e', [file('/d/e/2')])], [file('/d/3')]),
    directory('/empty')
  ];
  assert.deepStrictEqual(
    (await filesIn(dropped)).map(({ path }) => path),
    ['top', 'd/1', 'd/e/2', 'd/3']
  );
});
