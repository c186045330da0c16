/** Users from a file; the server is played here. */

const assert = require('node:assert');
const { test } = require('node:test');
const { ServerConnection } = require('@jupyterlab/services');

const { readCsv } = require('../lib/test/csv.js');
const { EXAMPLE, readUsers, UserImport } = require('../lib/test/userImport.js');

const fill = (text, args) => args.reduce((said, arg, place) => said.replace(`%${place + 1}`, arg), text);
const trans = { __: (text, ...args) => fill(text, args), _n: (one, many, n, ...args) => fill(n === 1 ? one : many, [n, ...args]) };

const PROJECTS = [
  { id: 'p1', name: 'vision', domain_name: 'default', is_active: true },
  { id: 'p2', name: 'nlp', domain_name: 'default', is_active: true },
  { id: 'p3', name: 'nlp', domain_name: 'physics', is_active: true }
];

test('values of spreadsheets: quotes, line ends, marks, and where each line begins', () => {
  const text = '\ufeffemail;name\r\n"kim;lee@lab.org";"says ""hi""\nand goes"\r\n\r\n;\nlast@lab.org; x ';
  assert.deepStrictEqual(readCsv(text), [
    { line: 1, cells: ['email', 'name'] },
    { line: 2, cells: ['kim;lee@lab.org', 'says "hi"\nand goes'] },
    { line: 6, cells: ['last@lab.org', 'x'] }
  ]);
  assert.deepStrictEqual(readCsv('a,b\n1,"2"\n')[1], { line: 2, cells: ['1', '2'] });
  assert.deepStrictEqual(readCsv('  \n'), []);
});

test('what is sent is what is sent for one made by hand', () => {
  const [kim, lee] = readUsers(EXAMPLE, PROJECTS.slice(0, 2), trans);
  assert.deepStrictEqual(kim.user, {
    email: 'kim@example.org',
    username: 'kim',
    password: 'at least 8 characters',
    role: 'user',
    domain_name: 'default',
    group_ids: ['p1']
  });
  assert.deepStrictEqual([lee.user.role, lee.user.group_ids], ['admin', ['p1', 'p2']]);
  const [bare] = readUsers('email\nx@lab.org', PROJECTS, trans);
  assert.deepStrictEqual(bare.user, { email: 'x@lab.org', username: 'x@lab.org', password: '', role: 'user' });
});

test('lines that cannot be asked for say why, and the others go on', () => {
  const text = [
    'email,username,projects,domain',
    'a@lab.org,a,vision,',
    'A@lab.org,b,,',
    'c@lab.org,a,,',
    ',d,,',
    'e@lab.org,e,law,',
    'f@lab.org,f,nlp,',
    'g@lab.org,g,nlp,physics',
    'h@lab.org,h,physics/nlp,',
    'i@lab.org,i,,,more'
  ].join('\n');
  const lines = readUsers(text, PROJECTS, trans);
  assert.deepStrictEqual(
    lines.map(({ line, user, said }) => [line, user?.domain_name, said]),
    [
      [2, 'default', ''],
      [3, undefined, 'Line 2 has the same e-mail address or name.'],
      [4, undefined, 'Line 2 has the same e-mail address or name.'],
      [5, undefined, 'It has no e-mail address.'],
      [6, undefined, 'There is no project law for you.'],
      [7, undefined, 'There are several projects nlp: say which, such as default/nlp, physics/nlp.'],
      [8, 'physics', ''],
      [9, 'physics', ''],
      [10, undefined, 'It has 5 values, and the first line names 4 columns.']
    ]
  );
});

test('a file without its columns, or without users, is refused as a whole', () => {
  for (const [text, found] of [['', 'none of these'], ['name,role\nx,user', 'name, role'], ['email,email\nx,y', 'email, email']]) {
    assert.throws(() => readUsers(text, PROJECTS, trans), new RegExp(`It has: ${found}`));
  }
  assert.throws(() => readUsers('email\n', PROJECTS, trans), /has 0 lines with users/);
});

test('no password is shown of a file that is not what it should be', () => {
  const texts = [
    'a@lab.org,a,hunter22\nb@lab.org,b,hunter22', // no names of columns
    'email,username,password\na@lab.org,"a,hunter22\nb@lab.org,b,hunter22\n', // quotes that do not end
    'email,username,password\na@lab.org,"a,hunter22\nb@lab.org,"b",hunter22\n', // or in another line
    'email,password\n"a"@lab.org,hunter22',
    `email,password\na@lab.org,${'x\ny,'.repeat(2)}"hunter22`
  ];
  const found = texts.map(text => assert.throws(() => readUsers(text, PROJECTS, trans), error => !/hunter/.test(error.message)));
  assert.strictEqual(found.length, texts.length);
  assert.throws(() => readUsers(texts[1], PROJECTS, trans), { message: 'Line 2 has quotes that do not end where its value does.' });
  const [torn] = readUsers('email,username,password\n"a@lab.org,a,hunter22\nb@lab.org",b,hunter22', PROJECTS, trans);
  assert.deepStrictEqual([torn.user, torn.email, torn.said], [null, '', 'A value in it has several lines: look at its quotes.']);
});

/** `answer(path, body)` → `[status, what is said]`. */
function importOf(answer, asked = []) {
  const fetch = async request => {
    const { pathname } = new URL(request.url);
    const path = pathname.replace('/bai/api/admin/', '');
    const body = request.method === 'POST' ? JSON.parse(await request.text()) : null;
    asked.push([path, body?.email]);
    if (path === 'projects') {
      return new Response(JSON.stringify({ items: PROJECTS, total: PROJECTS.length }));
    }
    const [status, said] = answer(path, body);
    return new Response(status === 204 ? null : JSON.stringify(said), { status });
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab/', wsUrl: 'ws://lab/', fetch, token: '' });
  return new UserImport(settings, trans);
}

const THREE = 'email,username,password\na@lab.org,a,12345678\nb@lab.org,b,\nc@lab.org,c,12345678\n';

test('each line is looked at before anything is made, and says what has become of it', async () => {
  const asked = [];
  const judge = (path, { email }) =>
    path === 'user-refusals'
      ? [200, { refusal: email === 'b@lab.org' ? "group_ids: 'b' is not 2 letters." : null }]
      : email === 'c@lab.org'
        ? [400, { code: 'invalid-api-params', message: 'There is a user with the name c already.' }]
        : [204];
  const model = importOf(judge, asked);
  await model.read(new Blob([THREE]));
  assert.deepStrictEqual(
    asked.map(([path]) => path),
    ['projects', 'user-refusals', 'user-refusals', 'user-refusals']
  );
  assert.deepStrictEqual([model.phase, model.count('good'), model.count('refused')], ['ready', 2, 1]);
  assert.strictEqual(model.lines[0].said, 'As user in your domain.');
  assert.strictEqual(model.lines[1].said, "projects: 'b' is not 2 letters.");
  await model.make();
  assert.deepStrictEqual(asked.slice(4), [
    ['users', 'a@lab.org'],
    ['users', 'c@lab.org']
  ]);
  assert.deepStrictEqual(
    model.lines.map(({ state, said }) => [state, said]),
    [
      ['made', ''],
      ['refused', "projects: 'b' is not 2 letters."],
      ['refused', 'There is a user with the name c already.']
    ]
  );
});

test('when no answer comes, it stops and says where', async () => {
  const away = { code: 'manager-away', message: 'The manager does not answer.' };
  const model = importOf((path, { email }) =>
    path === 'user-refusals' ? [200, { refusal: null }] : email === 'b@lab.org' ? [503, away] : [204]
  );
  await model.read(new Blob([THREE]));
  await model.make();
  assert.deepStrictEqual(
    model.lines.map(({ state }) => state),
    ['made', 'unknown', 'good']
  );
  assert.match(model.problem, /It stopped at line 3/);
  assert.strictEqual(model.phase, 'done');
});

test('what cannot be looked at is not offered', async () => {
  const model = importOf(() => [503, { code: 'manager-away', message: 'The manager does not answer.' }]);
  await model.read(new Blob([THREE]));
  assert.deepStrictEqual([model.phase, model.problem], ['none', 'The manager does not answer.']);
});

test('a file that is too large is not read, and one that cannot be read says so', async () => {
  const model = importOf(() => [204]);
  await model.read({ size: 2 ** 30, text: () => assert.fail('it was read') });
  assert.match(model.problem, /has more than 1 MiB/);
  await model.read({ size: 1, text: () => Promise.reject(new Error('It is gone.')) });
  assert.deepStrictEqual([model.phase, model.problem], ['none', 'It is gone.']);
});

test('of two files that are chosen one after the other the last one counts', async () => {
  const model = importOf(() => [200, { refusal: null }]);
  let say;
  const slow = { size: 1, text: () => new Promise(resolve => (say = resolve)) };
  const first = model.read(slow);
  await model.read(new Blob([THREE]));
  say('email\nlate@lab.org');
  await first;
  assert.deepStrictEqual([model.phase, model.lines.map(({ email }) => email)], ['ready', ['a@lab.org', 'b@lab.org', 'c@lab.org']]);
  const torn = model.read(slow);
  await model.read(new Blob([THREE]));
  say('nothing that is known');
  await torn;
  assert.deepStrictEqual([model.phase, model.problem], ['ready', '']);
});
