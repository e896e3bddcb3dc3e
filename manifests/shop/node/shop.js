// What the shop's Node services share: a server of JSON that hands on the trace context of each
// request, and fails or dawdles when it is told to.
'use strict';
const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');

const CONTEXT_HEADERS = ['traceparent', 'tracestate', 'baggage'];
const MAX_BODY_BYTES = 64 * 1024;
const NO_FAULT = { status: 0, delayMs: 0, share: 1 };
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

let fault = { ...NO_FAULT };

/** An answer other than 200. */
class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const contextOf = (headers) =>
  Object.fromEntries(CONTEXT_HEADERS.filter((name) => headers[name]).map((name) => [name, headers[name]]));

/** Calls another service with a request's trace context, and gives the answer's JSON. */
async function call(context, url) {
  const host = new URL(url).hostname;
  let answer, text;
  try {
    answer = await new Promise((resolve, reject) => {
      const request = http.get(url, { agent, headers: context, timeout: 10_000 }, resolve);
      request.on('error', reject);
      request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
    });
    text = await textOf(answer);
  } catch (error) {
    throw new Failure(502, `${host} did not answer: ${error.message}`);
  }
  if (answer.statusCode >= 400) {
    const reason = answer.headers['outrigger-reason'];
    throw new Failure(502, `${host} answered ${answer.statusCode}${reason ? ` (${reason})` : ''}`);
  }
  return JSON.parse(text);
}

async function textOf(stream) {
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_BODY_BYTES) throw new Failure(413, `a body of at most ${MAX_BODY_BYTES} bytes is taken`);
  }
  return text;
}

/** PUT replaces the fault, DELETE takes it away; each pod has its own. */
function setFault(method, wanted) {
  if (method === 'PUT') {
    const unknown = Object.keys(wanted).filter((name) => !(name in NO_FAULT));
    if (unknown.length) throw new Failure(400, `unknown: ${unknown}; known: ${Object.keys(NO_FAULT)}`);
    fault = { ...NO_FAULT, ...wanted };
  } else if (method === 'DELETE') {
    fault = { ...NO_FAULT };
  }
  return fault;
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : {};
  } catch (error) {
    throw new Failure(400, `the body is not JSON: ${error.message}`);
  }
}

async function answerTo(routes, request) {
  const { method, url, headers } = request;
  const body = parse(await textOf(request));
  if (url === '/healthz') return { status: 'ok' };
  if (url === '/fault') return setFault(method, body);
  if (Math.random() < fault.share) {
    await sleep(fault.delayMs);
    if (fault.status) throw new Failure(fault.status, 'a fault is switched on');
  }
  for (const [route, answer] of Object.entries(routes)) {
    const [verb, prefix] = route.split(' ');
    if (method === verb && url.startsWith(prefix)) {
      return answer({ rest: url.slice(prefix.length), body, context: contextOf(headers) });
    }
  }
  throw new Failure(404, `no such thing: ${method} ${url}`);
}

/** Serves until SIGTERM. `routes` maps "METHOD /prefix" to a function that gives the answer. */
function serve(routes, port = 8080) {
  let ending = false;
  const server = http.createServer((request, response) => {
    answerTo(routes, request)
      .then((body) => [200, body])
      .catch((error) => [error.status ?? 500, { error: error.message }])
      .then(([status, body]) => {
        if (ending) response.shouldKeepAlive = false;
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify(body)}\n`);
      });
  });
  server.keepAliveTimeout = 75_000;
  server.listen(port, () => console.log(`listening on ${port}`));
  process.on('SIGTERM', () => {
    ending = true;
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

module.exports = { call, serve, Failure };
