// A fetch handler with a route for each thing a test wants to see.

const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const encoder = new TextEncoder();
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const number = (url, name, otherwise) => Number(url.searchParams.get(name) ?? otherwise);

const routes = {
  '/': () => new Response('hello from node-handler\n'),
  '/echo': echo,
  '/slow': async (url) => {
    await sleep(number(url, 'ms', 100));
    return new Response('slow\n');
  },
  '/stream': (url) => stream(url, 'text/plain', (i) => `chunk ${i}\n`),
  '/sse': (url) => stream(url, 'text/event-stream', (i) => `data: ${i}\n\n`),
  '/big': big,
  '/crash': () => process.exit(1),
  '/throw': () => {
    throw new Error('thrown on purpose');
  },
  '/hang': () => new Promise(() => {}),
  '/status': (url) => {
    const status = number(url, 'code', 200);
    return new Response([204, 205, 304].includes(status) ? null : 'as asked\n', { status });
  },
  '/version': () => new Response(readFileSync(join(__dirname, 'VERSION'))),
  '/pid': () => new Response(`${process.pid}\n`),
  '/env': (url) => new Response(`${process.env[url.searchParams.get('name')] ?? ''}\n`),
  '/count': async (_, request) => {
    let bytes = 0;
    for await (const chunk of request.body ?? []) bytes += chunk.byteLength;
    return new Response(`${bytes}\n`);
  },
  '/cookies': () => {
    const headers = new Headers();
    headers.append('set-cookie', 'a=1');
    headers.append('set-cookie', 'b=2');
    return new Response('two cookies\n', { headers });
  },
};

async function echo(url, request) {
  const body = await request.text();
  return Response.json({ method: request.method, url: url.href, headers: Object.fromEntries(request.headers), body });
}

function stream(url, type, line) {
  const n = number(url, 'n', 5);
  const ms = number(url, 'ms', 100);
  let timer;
  const body = new ReadableStream({
    async start(controller) {
      for (let i = 0; i < n; i += 1) {
        if (i > 0) await new Promise((done) => (timer = setTimeout(done, ms)));
        controller.enqueue(encoder.encode(line(i)));
      }
      controller.close();
    },
    cancel() {
      clearTimeout(timer);
      console.error('the client left the stream');
    },
  });
  return new Response(body, { headers: { 'content-type': type } });
}

function big(url) {
  let left = number(url, 'bytes', 1 << 20);
  const body = new ReadableStream({
    pull(controller) {
      const size = Math.min(left, 64 * 1024);
      left -= size;
      if (size > 0) controller.enqueue(new Uint8Array(size).fill(120));
      if (left === 0) controller.close();
    },
  });
  return new Response(body);
}

module.exports = (request) => {
  const url = new URL(request.url);
  const route = routes[url.pathname];
  return route ? route(url, request) : new Response('not found\n', { status: 404 });
};
