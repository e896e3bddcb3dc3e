// As much of gRPC as the shop needs, over Node's own HTTP/2: unary calls whose request is
// `message { string name = 1; }` and whose answer is `message { int32 count = 1; }`.
'use strict';
const http2 = require('node:http2');
const { Failure } = require('./shop.js');

const OK = 0;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;

/** A message behind its five bytes of prefix: not compressed, so many bytes. */
function frame(message) {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Field 1 as a string of less than 128 bytes. */
const encodeName = (name) => Buffer.concat([Buffer.from([0x0a, Buffer.byteLength(name)]), Buffer.from(name)]);
const decodeName = (message) => message.subarray(2, 2 + message[1]).toString();

/** Field 1 as a count below 128: one byte. */
const encodeCount = (count) => Buffer.from([0x08, count]);
const decodeCount = (message) => message[1] ?? 0;

async function messageOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).subarray(5);
}

/** Serves until SIGTERM. `methods` maps "/package.Service/Method" to a function of the name. */
function serve(methods, port) {
  const all = { '/grpc.health.v1.Health/Check': () => 1, ...methods }; // 1: SERVING
  const server = http2.createServer();
  server.on('stream', async (stream, headers) => {
    stream.on('error', (error) => console.error(`a call was cut off: ${error.message}`));
    const method = all[headers[':path']];
    const reply = { ':status': 200, 'content-type': 'application/grpc+proto' };
    if (!method) {
      stream.respond({ ...reply, 'grpc-status': String(UNIMPLEMENTED) }, { endStream: true });
      return;
    }
    const name = decodeName(await messageOf(stream));
    if (stream.destroyed) return;
    stream.respond(reply, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(OK) }));
    stream.end(frame(encodeCount(method(name))));
  });
  const sessions = new Set();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.listen(port, () => console.log(`listening on ${port}`));
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    for (const session of sessions) session.close();
  });
}

/** A client that keeps one connection and opens another when that has ended. */
function client(url) {
  let session;
  const connected = () => {
    if (!session || session.closed || session.destroyed) {
      session = http2.connect(url);
      session.on('error', (error) => console.error(`${url}: ${error.message}`));
    }
    return session;
  };
  return { call: (method, name, context) => unary(connected(), method, name, context) };
}

async function unary(session, method, name, context) {
  const stream = session.request({
    ':method': 'POST', ':path': method, 'content-type': 'application/grpc+proto', te: 'trailers', ...context,
  });
  let status = UNAVAILABLE;
  const note = (headers) => { if ('grpc-status' in headers) status = Number(headers['grpc-status']); };
  stream.on('response', note);
  stream.on('trailers', note);
  stream.setTimeout(10_000, () => stream.close(http2.constants.NGHTTP2_CANCEL));
  stream.end(frame(encodeName(name)));
  let message;
  try {
    message = await messageOf(stream);
  } catch (error) {
    throw new Failure(502, `${method} did not answer: ${error.message}`);
  }
  if (status !== OK) throw new Failure(502, `${method} failed with gRPC status ${status}`);
  return decodeCount(message);
}

module.exports = { client, serve };
