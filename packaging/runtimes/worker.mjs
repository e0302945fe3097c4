// The rip-server worker for Node (18 or newer) and Bun: answers HTTP with the app's exported handler.
//
// The entry's default export is a function of a Request, or an object with fetch(request); it returns a Response
// or a promise of one. Listens on file descriptor 3 (LISTEN_FDS), else on $RIP_SOCKET, else on 127.0.0.1:$PORT.
// Never here: TLS, queueing, time limits; the server in front has those.

import { realpathSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const onBun = typeof Bun !== 'undefined';
const entry = resolve(process.argv[2] ?? '.');
const concurrency = Math.max(1, Number.parseInt(process.env.RIP_CONCURRENCY ?? '1', 10) || 1);
const reloadsModule = process.env.RIP_RELOAD === 'module' || process.argv.includes('--reload=module');
let stopping = false;

// -- the handler ---------------------------------------------------------------------------------------------------

let handler;
let reloads = 0;
let loaded = '';

// Not the time alone: an editor that empties a file and writes it anew may do both within one tick of the clock.
function version() {
  try {
    const { mtimeNs, size, ino } = statSync(entry, { bigint: true });
    return `${mtimeNs}.${size}.${ino}`;
  } catch {
    return loaded; // between the unlink and the rename of an editor: nothing has changed yet
  }
}

// A query makes Node load an ES module anew; a CommonJS one has to leave the cache of `require` too. Bun ignores the
// query for file URLs, and loaders of other languages match on the end of the path: there leaving the cache is enough.
function fresh(version) {
  if (!version) return import(pathToFileURL(entry).href);
  delete createRequire(import.meta.url).cache[realpathSync(entry)];
  return import(onBun ? entry : `${pathToFileURL(entry).href}?v=${version}`);
}

async function load(version) {
  const module = await fresh(version);
  let exported = module.default ?? module;
  if (exported?.default) exported = exported.default; // TypeScript compiled to CommonJS
  if (typeof exported === 'function') return (request) => exported(request);
  if (typeof exported?.fetch === 'function') return (request) => exported.fetch(request);
  throw new TypeError(`${entry}: the default export must be a function of a Request, or have fetch(request)`);
}

let reloading;

// One after the other: an import joins one of the same file that is still under way, and would get the older code.
async function reloadIfChanged() {
  const now = version();
  if (now === loaded) return reloading;
  loaded = now;
  reloading = Promise.resolve(reloading).then(async () => {
    try {
      handler = await load(`${now}.${reloads + 1}`);
      reloads += 1;
    } catch (error) {
      console.error('reload failed, the old module stays:', error);
    }
  });
  return reloading;
}

// Calls the app and always ends in a Response; what went wrong is for the log, not for the client.
async function respond(request) {
  if (reloadsModule) await reloadIfChanged();
  try {
    const response = await handler(request);
    if (typeof response?.status === 'number' && response.headers) return response;
    throw new TypeError(`the handler returned ${Object.prototype.toString.call(response)}, not a Response`);
  } catch (error) {
    if (!request.signal.aborted) console.error(`${request.method} ${request.url}:`, error);
    return new Response('Internal server error\n', { status: 500, headers: { 'content-type': 'text/plain' } });
  }
}

function urlOf(target, header) {
  const proto = header('x-forwarded-proto') ?? 'http';
  const host = header('x-forwarded-host') ?? header('host') ?? 'localhost';
  return new URL(`${proto}://${host}${target.startsWith('/') ? target : `/${target}`}`).href;
}

const BUSY = { 'content-type': 'text/plain', 'rip-worker-busy': '1', 'retry-after': '1' };

// -- Node ----------------------------------------------------------------------------------------------------------

async function serveNode() {
  const http = await import('node:http');
  let busy = 0;
  // The server in front keeps connections open and chooses when to close them: an idle limit here would race it.
  const options = { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0, maxHeaderSize: 128 * 1024 };
  const server = http.createServer(options, (incoming, outgoing) => {
    outgoing.sendDate = false;
    if (busy >= concurrency) {
      incoming.resume();
      outgoing.writeHead(503, BUSY).end('Busy\n');
      return;
    }
    busy += 1;
    outgoing.once('close', () => {
      busy -= 1;
      if (stopping) server.closeIdleConnections();
    });
    answerNode(incoming, outgoing).catch((error) => {
      console.error(`${incoming.method} ${incoming.url}: the answer was cut short:`, error);
      outgoing.destroy();
    });
  });
  server.on('error', fail);
  server.on('clientError', (_, socket) => socket.destroy());
  const { LISTEN_FDS, RIP_SOCKET, PORT } = process.env;
  if (LISTEN_FDS) server.listen({ fd: 3 });
  else if (RIP_SOCKET) server.listen(RIP_SOCKET);
  else server.listen(Number(PORT), '127.0.0.1');
  return () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  };
}

async function answerNode(incoming, outgoing) {
  const abort = new AbortController();
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) abort.abort(new DOMException('the client is gone', 'AbortError'));
  });
  let request;
  try {
    request = requestFromNode(incoming, abort.signal);
  } catch (error) {
    incoming.resume();
    const known = error instanceof TypeError;
    outgoing.writeHead(known ? 400 : 500, { 'content-type': 'text/plain' }).end('Bad request\n');
    return;
  }
  const response = await respond(request);
  if (outgoing.destroyed) {
    await response.body?.cancel().catch(() => {});
    return;
  }
  await sendNode(response, incoming, outgoing);
}

function requestFromNode(incoming, signal) {
  const headers = new Headers();
  const raw = incoming.rawHeaders;
  for (let i = 0; i < raw.length; i += 2) headers.append(raw[i], raw[i + 1]);
  const url = urlOf(incoming.url, (name) => headers.get(name) ?? undefined);
  const method = incoming.method;
  const sent = incoming.headers['transfer-encoding'] !== undefined || Number(incoming.headers['content-length']) > 0;
  if (!sent || method === 'GET' || method === 'HEAD') {
    incoming.resume();
    return new Request(url, { method, headers, signal });
  }
  return new Request(url, { method, headers, signal, body: bodyFromNode(incoming), duplex: 'half' });
}

// Reads from the socket only as fast as the app reads from the stream.
function bodyFromNode(incoming) {
  let ended = false;
  return new ReadableStream(
    {
      start(controller) {
        const end = (act) => {
          if (ended) return;
          ended = true;
          act();
        };
        incoming.on('data', (chunk) => {
          if (ended) return;
          controller.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
          if (controller.desiredSize <= 0) incoming.pause();
        });
        incoming.once('end', () => end(() => controller.close()));
        incoming.once('error', (error) => end(() => controller.error(error)));
        incoming.once('close', () => end(() => controller.error(new Error('the request ended early'))));
        incoming.pause();
      },
      pull() {
        incoming.resume();
      },
      cancel() {
        ended = true;
        incoming.resume();
      },
    },
    { highWaterMark: 64 * 1024, size: (chunk) => chunk.byteLength },
  );
}

async function sendNode(response, incoming, outgoing) {
  // A body that the app left unread must not hold up the next request on this connection.
  outgoing.once('finish', () => incoming.resume());
  outgoing.statusCode = response.status;
  if (response.statusText) outgoing.statusMessage = response.statusText;
  for (const [name, value] of response.headers) if (name !== 'set-cookie') outgoing.setHeader(name, value);
  const cookies = response.headers.getSetCookie?.() ?? [];
  if (cookies.length > 0) outgoing.setHeader('set-cookie', cookies);
  defaultHeaders((name) => outgoing.hasHeader(name), (name, value) => outgoing.setHeader(name, value));
  if (incoming.method === 'HEAD' || !response.body) {
    await response.body?.cancel();
    outgoing.end();
    return;
  }
  await pump(response.body.getReader(), outgoing);
}

// A body that is there at once goes out in one piece with its length; a stream's head leaves at once and each of
// its chunks as it comes.
async function pump(reader, outgoing) {
  const gone = new Promise((done) => outgoing.once('close', done));
  const left = gone.then(() => ({ done: true, gone: true }));
  const soon = (promise) => Promise.race([promise, new Promise((done) => setImmediate(done, undefined))]);
  let next = reader.read();
  const first = await soon(next);
  if (first?.done) return void outgoing.end();
  if (first) {
    next = reader.read();
    const second = await soon(next);
    if (second?.done) {
      if (!outgoing.hasHeader('content-length')) outgoing.setHeader('content-length', first.value.byteLength);
      return void outgoing.end(first.value);
    }
    outgoing.write(first.value);
  } else {
    outgoing.flushHeaders();
  }
  for (;;) {
    const { done, value, gone: clientLeft } = await Promise.race([next, left]);
    if (clientLeft) return void (await reader.cancel().catch(() => {}));
    if (done) return void outgoing.end();
    if (!outgoing.write(value)) {
      await Promise.race([new Promise((drained) => outgoing.once('drain', drained)), gone]);
    }
    next = reader.read();
  }
}

function defaultHeaders(has, set) {
  if (!has('cache-control')) set('cache-control', 'no-store');
  if (reloads > 0) set('rip-reloads', String(reloads));
}

// -- Bun -----------------------------------------------------------------------------------------------------------

// Bun cannot adopt an inherited socket, so its workers bind $RIP_SOCKET (or $PORT).
async function serveBun() {
  const { RIP_SOCKET, PORT } = process.env;
  const place = RIP_SOCKET ? { unix: RIP_SOCKET } : { hostname: '127.0.0.1', port: Number(PORT) };
  const server = Bun.serve({
    ...place,
    idleTimeout: 0,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false,
    async fetch(received) {
      // pendingRequests counts this one too, and each until the last byte of its answer.
      if (server.pendingRequests > concurrency) return new Response('Busy\n', { status: 503, headers: BUSY });
      const response = await respond(forwarded(received));
      return withDefaults(response);
    },
    error(error) {
      console.error(error);
      return new Response('Internal server error\n', { status: 500 });
    },
  });
  return async () => {
    await server.stop();
    process.exit(0);
  };
}

function forwarded(received) {
  const { headers } = received;
  if (!headers.has('x-forwarded-proto') && !headers.has('x-forwarded-host')) return received;
  const at = received.url.indexOf('/', received.url.indexOf('//') + 2);
  const target = at < 0 ? '/' : received.url.slice(at);
  const url = urlOf(target, (name) => headers.get(name) ?? undefined);
  return new Request(url, received);
}

function withDefaults(response) {
  const put = (target) =>
    defaultHeaders((name) => target.headers.has(name), (name, value) => target.headers.set(name, value));
  try {
    put(response);
    return response;
  } catch {
    const copy = new Response(response.body, response); // a Response made by fetch() cannot be changed
    put(copy);
    return copy;
  }
}

// -- start and stop ------------------------------------------------------------------------------------------------

function fail(error) {
  console.error(error);
  process.exit(1);
}

try {
  loaded = version();
  handler = await load();
  const stop = onBun ? await serveBun() : await serveNode();
  const once = () => {
    if (stopping) return;
    stopping = true;
    stop();
  };
  process.on('SIGTERM', once);
  process.on('SIGINT', once);
} catch (error) {
  fail(error);
}
