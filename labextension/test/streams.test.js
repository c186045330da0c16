/** What a cell printed, told again in fewer messages. */

const assert = require('node:assert');
const { test } = require('node:test');

const { joined, showEach } = require('../lib/test/streams.js');

let count = 0;

function message(type, content, parent = 'cell-1', channel = 'iopub') {
  return { channel, header: { msg_id: `m-${++count}`, msg_type: type }, parent_header: { msg_id: parent }, content };
}

function print(text, name = 'stdout', parent = 'cell-1') {
  return message('stream', { name, text }, parent);
}

function texts(messages) {
  return messages.map(msg => msg.content.text ?? msg.header.msg_type);
}

test('what is printed to one stream in a row is one message, as its last', () => {
  const all = [print('1\n'), print('2\n'), print('3\n')];
  const [one, ...more] = joined(all);
  assert.deepStrictEqual([one.content, more], [{ name: 'stdout', text: '1\n2\n3\n' }, []]);
  assert.strictEqual(one.header.msg_id, all[2].header.msg_id);
  assert.deepStrictEqual(texts(all), ['1\n', '2\n', '3\n']);
});

test('order stays: another stream, another cell, and what is not printed come between', () => {
  const all = [
    print('a'),
    print('b', 'stderr'),
    print('c'),
    print('d', 'stdout', 'cell-2'),
    print('e'),
    message('clear_output', { wait: true }),
    print('f'),
    print('g')
  ];
  assert.deepStrictEqual(texts(joined(all)), ['a', 'b', 'c', 'd', 'e', 'clear_output', 'fg']);
});

test('nothing is made of nothing', () => {
  assert.deepStrictEqual(joined([]), []);
});

test('one message that cannot be shown does not drop those behind it', async () => {
  const shown = [];
  const told = [];
  const show = async text => {
    if (text === 'bad') {
      throw new Error('no such renderer');
    }
    shown.push(text);
  };
  await showEach(['a', 'bad', 'b'], show, fault => told.push(fault.message));
  assert.deepStrictEqual([shown, told], [['a', 'b'], ['no such renderer']]);
});
