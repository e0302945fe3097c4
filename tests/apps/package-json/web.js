// A plain Node server on $PORT, started by the start script of package.json.

const { readFileSync } = require('node:fs');
const http = require('node:http');
const { join } = require('node:path');

const routes = {
  '/': (_, response) => response.end('hello from package-json\n'),
  '/echo': async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, url, headers } = request;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method, url, headers, body: `${Buffer.concat(chunks)}` }));
  },
  '/version': (_, response) => response.end(readFileSync(join(__dirname, 'VERSION'))),
  '/crash': () => process.exit(1),
};

const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
  const route = routes[new URL(request.url, 'http://app').pathname];
  if (route) route(request, response);
  else response.writeHead(404).end('not found\n');
});

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

server.listen(Number(process.env.PORT), '127.0.0.1');
