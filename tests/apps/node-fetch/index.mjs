// A handler as an ES module: the default export is an object with fetch().

import { readFile } from 'node:fs/promises';

const routes = {
  '/': () => new Response('hello from node-fetch\n'),
  '/echo': async (request) => {
    const { method, url } = request;
    return Response.json({ method, url, headers: Object.fromEntries(request.headers), body: await request.text() });
  },
  '/version': async () => new Response(await readFile(new URL('VERSION', import.meta.url))),
  '/crash': () => process.exit(1),
};

export default {
  async fetch(request) {
    const route = routes[new URL(request.url).pathname];
    return route ? route(request) : new Response('not found\n', { status: 404 });
  },
};
