// A plain Node server on $PORT: the usual routes, trailers, and a WebSocket echo without any package.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const http = require('node:http');
const { join } = require('node:path');

const number = (url, name, otherwise) => Number(url.searchParams.get(name) ?? otherwise);

const routes = {
  '/': (_, request, response) => response.end('hello from node-server\n'),
  '/echo': async (url, request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, headers, trailers } = request;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method, url: request.url, headers, trailers, body: `${Buffer.concat(chunks)}` }));
  },
  '/slow': (url, request, response) => setTimeout(() => response.end('slow\n'), number(url, 'ms', 100)),
  '/stream': (url, request, response) => {
    const n = number(url, 'n', 5);
    let sent = 0;
    const next = () => {
      if (sent === n) return response.end();
      response.write(`chunk ${sent}\n`);
      sent += 1;
      return setTimeout(next, number(url, 'ms', 100));
    };
    next();
  },
  '/trailers': (_, request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain', trailer: 'x-checksum' });
    response.write('body before the trailers\n');
    response.addTrailers({ 'x-checksum': 'abc123' });
    response.end();
  },
  '/crash': () => process.exit(1),
  '/hang': () => {},
  '/version': (_, request, response) => response.end(readFileSync(join(__dirname, 'VERSION'))),
};

const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
  const url = new URL(request.url, 'http://app');
  const route = routes[url.pathname];
  if (route) route(url, request, response);
  else response.writeHead(404).end('not found\n');
});

server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'];
  if (request.headers.upgrade?.toLowerCase() !== 'websocket' || !key) {
    socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
    return;
  }
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  echoFrames(socket);
});

// RFC 6455 §5.2: text and binary frames come back, a ping gets its pong, a close is answered with a close.
function echoFrames(socket) {
  let buffered = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (data) => {
    buffered = Buffer.concat([buffered, data]);
    for (let frame = readFrame(buffered); frame; frame = readFrame(buffered)) {
      buffered = buffered.subarray(frame.size);
      const opcode = frame.opcode === 9 ? 10 : frame.opcode;
      socket.write(makeFrame(frame.final, opcode, frame.payload));
      if (opcode === 8) socket.end();
    }
  });
}

function readFrame(bytes) {
  if (bytes.length < 2) return undefined;
  let length = bytes[1] & 0x7f;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return undefined;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return undefined;
    length = Number(bytes.readBigUInt64BE(2));
    at = 10;
  }
  const size = at + 4 + length;
  if (bytes.length < size) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, size)).map((byte, i) => byte ^ mask[i % 4]);
  return { final: bytes[0] & 0x80, opcode: bytes[0] & 0x0f, payload, size };
}

function makeFrame(final, opcode, payload) {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
  head[0] = final | opcode;
  if (length < 126) {
    head[1] = length;
  } else if (length < 65536) {
    head[1] = 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, payload]);
}

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

server.listen(Number(process.env.PORT), '127.0.0.1');
