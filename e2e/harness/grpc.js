// gRPC by hand, as a server and as clients that never stop.
//
// node grpc.js serve: answers every call on port 8080, and ends at once on SIGTERM, whatever is
// under way.
// node grpc.js load URL CLIENTS CALLS_PER_SECOND COUNTS: half of the clients keep their connection,
// half open one for each call. COUNTS is written as load.py does.

'use strict';
const fs = require('node:fs');
const http2 = require('node:http2');

const MESSAGE = Buffer.from([0, 0, 0, 0, 2, 0x0a, 0x00]);
const TIMEOUT = 10_000;
// Ends by itself, should the test that started it be gone: 30 minutes.
const END = Date.now() + 1_800_000;
// Latencies that are kept, and failures that are told.
const [LATEST, TOLD] = [2000, 20];

function serve() {
  process.on('SIGTERM', () => process.exit(0));
  const server = http2.createServer();
  server.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.on('end', () => {
      // A little work, so that a call can be under way when the end comes.
      setTimeout(() => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.end(MESSAGE);
      }, 20);
    });
    stream.resume();
  });
  server.listen(8080, '::');
}

function call(session) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const stream = session.request({
      ':method': 'POST', ':path': '/outrigger.test.Echo/Say', 'content-type': 'application/grpc', te: 'trailers',
    });
    const heard = {};
    stream.setTimeout(TIMEOUT, () => reject(new Error('no answer in time')));
    stream.on('response', (headers) => Object.assign(heard, headers));
    stream.on('trailers', (trailers) => Object.assign(heard, trailers));
    stream.on('error', reject);
    stream.on('close', () => {
      if (heard['grpc-status'] === '0') return resolve(performance.now() - started);
      const [status, message] = [heard['grpc-status'], heard['grpc-message']];
      reject(new Error(`status ${heard[':status']}, grpc-status ${status}: ${message}, reset ${stream.rstCode}`));
    });
    stream.resume();
    stream.end(MESSAGE);
  });
}

function connect(url) {
  const session = http2.connect(url);
  // The call on it says so too.
  session.on('error', () => {});
  return session;
}

async function client(url, keep, interval, counts) {
  let session = null;
  while (Date.now() < END) {
    const due = Date.now() + interval;
    if (session === null || session.closed || session.destroyed) session = connect(url);
    let failed = null;
    try {
      const took = await call(session);
      counts.ok += 1;
      counts.latest_ms.push(Math.round(took * 100) / 100);
      if (counts.latest_ms.length > LATEST) counts.latest_ms.shift();
    } catch (error) {
      failed = `${new Date().toISOString()} ${error.message}`;
      counts.failures += 1;
      if (counts.failed.length < TOLD) counts.failed.push(failed);
    }
    if (failed || !keep) {
      session.close();
      session = null;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - Date.now())));
  }
}

function load(url, clients, rate, path) {
  const counts = { ok: 0, failures: 0, failed: [], latest_ms: [] };
  for (let number = 0; number < clients; number += 1) {
    client(url, number % 2 === 0, (1000 * clients) / rate, counts);
  }
  setInterval(() => {
    fs.writeFileSync(`${path}.new`, JSON.stringify(counts));
    fs.renameSync(`${path}.new`, path);
    if (Date.now() >= END) process.exit(0);
  }, 100);
}

const [role, url, clients, rate, path] = process.argv.slice(2);
if (role === 'serve') serve();
else load(url, Number(clients), Number(rate), path);
