// A worker that speaks HTTP/2 without TLS, and does what the path says; as worker.py it meets the test in $MEET.
import fs from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { Duplex } from 'node:stream';
import path from 'node:path';

const at = (name) => path.join(process.env.MEET, name);
const arrive = (name) => fs.writeFileSync(at(`at.${name}`), '');
const whole = async (stream) => {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
};
const text = { ':status': 200, 'content-type': 'text/plain', 'x-worker-pid': process.pid };

let standing = 0;

const routes = {
  '/': (stream) => {
    stream.respond(text);
    stream.end('hello');
  },
  // What worker.py answers at /view, as far as there is such a thing here.
  '/view': (stream, query, headers) => {
    const fields = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
    stream.respond(text);
    stream.end(JSON.stringify({
      method: headers[':method'], target: headers[':path'], pid: process.pid, raw: '',
      headers: fields.flatMap(([name, value]) => [value].flat().map((one) => [name, one])),
    }));
  },
  // Answers while the body still comes, which it goes on to read.
  '/early': (stream, query) => {
    const code = Number(query.get('code'));
    stream.on('close', () => arrive(`early.${code}.closed`));
    stream.resume();
    stream.respond({ ...text, ':status': code }, { endStream: code === 204 });
    if (code !== 204) stream.end('early');
  },
  '/echo': async (stream) => {
    const body = await whole(stream);
    stream.respond(text);
    stream.end(body);
  },
  // Ends its connection without an answer, but lives on.
  '/drop': async (stream) => {
    await whole(stream);
    stream.session.destroy();
  },
  '/hang': () => {},
  '/gate': async (stream, query) => {
    arrive(query.get('name'));
    while (!fs.existsSync(at(`open.${query.get('name')}`))) await new Promise((done) => setTimeout(done, 3));
    stream.respond(text);
    stream.end('through');
  },
  // So many bytes. The first time that the Nth of them cannot go on: at.big.N.waits.
  '/big': async (stream, query) => {
    stream.respond(text);
    const block = Buffer.alloc(1 << 16);
    let told = false;
    for (let left = Number(query.get('bytes')); left > 0; left -= block.length) {
      if (stream.write(block.subarray(0, Math.min(left, block.length)))) continue;
      const drained = new Promise((done) => stream.once('drain', done));
      const waits = new Promise((done) => setTimeout(done, 500, true));
      if (await Promise.race([drained, waits]) && !told) {
        told = true;
        arrive(`big.${(standing += 1)}.waits`);
      }
      await drained;
    }
    stream.end();
  },
  // Half an answer, and no more.
  '/stall': (stream) => {
    stream.respond(text);
    stream.write('half of it');
  },
  // An answer with a field of so many bytes.
  '/large-head': (stream, query) => {
    stream.respond({ ...text, 'x-long': 'x'.repeat(Number(query.get('bytes'))) });
    stream.end('ok');
  },
  // Sends every piece of the body back as it comes.
  '/duplex': async (stream) => {
    stream.on('aborted', () => arrive('duplex.broken'));
    stream.respond(text);
    stream.write('begun');
    for await (const piece of stream) stream.write(piece);
    stream.end();
  },
  '/events': (stream) => {
    stream.respond({ ...text, 'content-type': 'text/event-stream' });
    stream.write('data: 0\n\n');
    stream.on('close', () => arrive('events.closed'));
  },
  // Refuses: the first time with once=NAME, else always.
  '/busy': async (stream, query) => {
    await whole(stream);
    const taken = query.has('once') && fs.existsSync(at(`at.${query.get('once')}`));
    if (query.has('once')) arrive(query.get('once'));
    stream.respond(taken ? text : { ':status': 503, 'rip-worker-busy': '1' });
    stream.end(taken ? 'taken' : 'busy');
  },
  // Says the id of its request; then, `ms` after the stream's end, says another one on it all the same.
  '/stray': (stream, query) => {
    const [code, id] = [Number(query.get('code') ?? 200), query.get('id')];
    const { transport } = stream.session;
    const bodiless = code === 204 || stream.headRequest;
    stream.respond({ ...text, ':status': code, 'x-id': id }, { endStream: bodiless });
    if (!bodiless) stream.end(`id ${id}`);
    if (!query.has('ms')) return;
    const stray = Buffer.from('         id stray');
    stray.writeUIntBE(8, 0, 3);
    stray.writeUInt8(0, 3); // DATA
    stray.writeUInt8(1, 4); // END_STREAM
    stray.writeUInt32BE(stream.id, 5);
    setTimeout(() => transport.socket.write(stray), Number(query.get('ms')));
  },
  // A WebSocket for those who ask for one: sends all bytes back as they come.
  '/ws': async (stream, _, headers) => {
    stream.on('close', () => arrive('ws.closed'));
    if (headers[':protocol'] !== 'websocket') {
      stream.respond({ ':status': 426 });
      return stream.end('not a WebSocket');
    }
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'echo' });
    for await (const piece of stream) stream.write(piece);
    stream.end();
  },
  // Refuses a WebSocket.
  '/no-ws': (stream) => {
    stream.respond({ ...text, ':status': 403 });
    stream.end('none for you');
  },
  // Takes nothing more on this connection.
  '/goodbye': (stream) => {
    stream.session.close();
    stream.respond(text);
    stream.end('bye');
  },
};

// With $NO_CONNECT no WebSockets are taken.
const server = http2.createServer({ settings: { enableConnectProtocol: !process.env.NO_CONNECT } });
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const { ':method': method, ':path': target } = headers;
  const named = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
  const fields = named.map(([name, value]) => [name, String(value)]);
  const view = { method, target, headers: fields, pid: process.pid, raw: '' };
  fs.appendFileSync(at('views.jsonl'), `${JSON.stringify(view)}\n`);
  const [route, query] = target.split('?');
  Promise.resolve(routes[route](stream, new URLSearchParams(query), headers)).catch(() => {});
});
server.on('sessionError', () => {});

// Between the session and the socket, so that more can be said on it than the session would.
class Transport extends Duplex {
  constructor(socket) {
    super();
    this.socket = socket;
    socket.on('data', (data) => this.push(data));
    socket.on('end', () => this.push(null));
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }
  _read() {}
  _write(data, _, done) {
    this.socket.write(data, () => done());
  }
  _final(done) {
    this.socket.end(done);
  }
  _destroy(error, done) {
    this.socket.destroy();
    done(error);
  }
}

const listener = net.createServer((socket) => {
  const transport = new Transport(socket);
  server.once('session', (session) => {
    session.transport = transport;
  });
  server.emit('connection', transport);
});
listener.listen({ fd: 3 });
process.on('SIGTERM', () => process.exit(0));
