/* The terminal of a session in a page. What goes over the socket is told in bai_jupyter/common/stdio.py. */
'use strict';

const INPUT = 0, OUTPUT = 1, RESIZE = 4;
const SHELL_ENDED = 1000;

const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
const terminal = new Terminal({
  cursorBlink: true,
  theme: isDark
    ? { background: '#111111', foreground: '#eeeeee', cursor: '#eeeeee' }
    : { background: '#ffffff', foreground: '#111111', cursor: '#111111', selectionBackground: '#b5d5ff' },
  minimumContrastRatio: 4.5
});
const fit = new FitAddon.FitAddon();
terminal.loadAddon(fit);
terminal.open(document.getElementById('terminal'));
fit.fit();
terminal.focus();

const place = new URL(`socket?rows=${terminal.rows}&columns=${terminal.cols}`, location.href);
place.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
const socket = new WebSocket(place);
socket.binaryType = 'arraybuffer';

const early = []; // what was typed before the socket is open

function send(kind, payload) {
  const frame = new Uint8Array(1 + payload.length);
  frame[0] = kind;
  frame.set(payload, 1);
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(frame);
  } else if (socket.readyState === WebSocket.CONNECTING) {
    early.push(frame);
  }
}

const letters = new TextEncoder();
terminal.onData(text => send(INPUT, letters.encode(text)));
terminal.onBinary(bytes => send(INPUT, Uint8Array.from(bytes, one => one.charCodeAt(0))));
terminal.onResize(({ rows, cols }) => send(RESIZE, new Uint8Array(new Uint16Array([rows, cols]).buffer)));
new ResizeObserver(() => fit.fit()).observe(document.getElementById('terminal'));

let wasOpen = false;
socket.onopen = () => {
  wasOpen = true;
  early.splice(0).forEach(frame => socket.send(frame));
};
socket.onmessage = ({ data }) => {
  const frame = new Uint8Array(data);
  if (frame[0] === OUTPUT) {
    terminal.write(frame.subarray(1));
  }
};
socket.onclose = ({ code, reason }) => {
  const ended = document.getElementById('ended');
  const lost = wasOpen ? 'The connection was lost; the shell goes on.' : 'The terminal could not be opened from this page.';
  ended.querySelector('span').textContent = code === SHELL_ENDED ? 'The shell has ended.' : reason || lost;
  ended.querySelector('button').onclick = () => location.reload();
  ended.hidden = false;
};
