// Speaks HTTP/2 without TLS, as gRPC servers do: answers with what it got, and with trailers.
import http2 from 'node:http2';

const server = http2.createServer();
server.on('stream', (stream, headers) => {
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  stream.on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    const { ':method': method, ':path': path, ':authority': authority, te } = headers;
    stream.end(JSON.stringify({ method, path, authority, te, body: Buffer.concat(chunks).toString() }));
  });
});
server.listen({ fd: 3 });
process.on('SIGTERM', () => server.close(() => process.exit(0)));
