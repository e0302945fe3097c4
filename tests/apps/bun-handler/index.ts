// A fetch handler in TypeScript, for Bun (or a Node that strips types).

import { readFileSync } from 'node:fs';

type Route = (url: URL, request: Request) => Response | Promise<Response>;

const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const number = (url: URL, name: string, otherwise: number) => Number(url.searchParams.get(name) ?? otherwise);

const routes: Record<string, Route> = {
  '/': () => new Response('hello from bun-handler\n'),
  '/echo': async (url, request) =>
    Response.json({
      method: request.method,
      url: url.href,
      headers: Object.fromEntries(request.headers),
      body: await request.text(),
    }),
  '/slow': async (url) => {
    await sleep(number(url, 'ms', 100));
    return new Response('slow\n');
  },
  '/stream': (url) => stream(url, 'text/plain', (i) => `chunk ${i}\n`),
  '/sse': (url) => stream(url, 'text/event-stream', (i) => `data: ${i}\n\n`),
  '/crash': () => process.exit(1),
  '/throw': () => {
    throw new Error('thrown on purpose');
  },
  '/hang': () => new Promise<Response>(() => {}),
  '/status': (url) => {
    const status = number(url, 'code', 200);
    return new Response([204, 205, 304].includes(status) ? null : 'as asked\n', { status });
  },
  '/version': () => new Response(readFileSync(new URL('VERSION', import.meta.url))),
  '/pid': () => new Response(`${process.pid}\n`),
  '/count': async (_, request) => new Response(`${(await request.arrayBuffer()).byteLength}\n`),
};

function stream(url: URL, type: string, line: (i: number) => string): Response {
  const n = number(url, 'n', 5);
  const ms = number(url, 'ms', 100);
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    async start(controller) {
      for (let i = 0; i < n; i += 1) {
        if (i > 0) await sleep(ms);
        controller.enqueue(encoder.encode(line(i)));
      }
      controller.close();
    },
  });
  return new Response(body, { headers: { 'content-type': type } });
}

export default {
  fetch(request: Request): Response | Promise<Response> {
    const url = new URL(request.url);
    const route = routes[url.pathname];
    return route ? route(url, request) : new Response('not found\n', { status: 404 });
  },
};
