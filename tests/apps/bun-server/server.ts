// A server of Bun's own, on the socket that is named in $RIP_SOCKET.

import { readFileSync } from 'node:fs';

const routes: Record<string, (request: Request) => Response | Promise<Response>> = {
  '/': () => new Response('hello from bun-server\n'),
  '/echo': async (request) => {
    const { method, url } = request;
    return Response.json({ method, url, headers: Object.fromEntries(request.headers), body: await request.text() });
  },
  '/version': () => new Response(readFileSync(new URL('VERSION', import.meta.url))),
  '/crash': () => process.exit(1),
};

const server = Bun.serve({
  unix: process.env.RIP_SOCKET!,
  fetch(request) {
    const route = routes[new URL(request.url).pathname];
    return route ? route(request) : new Response('not found\n', { status: 404 });
  },
});

process.on('SIGTERM', async () => {
  await server.stop();
  process.exit(0);
});
