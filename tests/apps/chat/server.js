// A chat by socket.io on $PORT. What its people say is kept by the process that they are connected to.

const { readFileSync } = require('node:fs');
const http = require('node:http');
const { join } = require('node:path');
const { Server } = require('socket.io');

const version = readFileSync(join(__dirname, 'VERSION'), 'utf8').trim();

const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
  if (request.url === '/') response.end('hello from chat\n');
  else response.writeHead(404).end('not found\n');
});

const io = new Server(server, { pingInterval: 1000 });
io.on('connection', (socket) => {
  let lines = 0;
  socket.on('say', (text, answer) => {
    lines += 1;
    io.emit('said', text);
    answer({ text, lines, version, pid: process.pid });
  });
});

process.on('SIGTERM', () => {
  // `close` tells everybody who is connected, and closes the server.
  io.close(() => process.exit(0));
});

server.listen(Number(process.env.PORT), '127.0.0.1');
