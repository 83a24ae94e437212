'use strict';
// The peer of the benchmark on Node's tls module. Start it by ./server, which
// configures what tls.createServer cannot.
//
// Node keeps no sessions itself. "tickets" are OpenSSL's stateless ones; "der" is
// a Map behind the events newSession and resumeSession, which Node has for session
// ids, so in TLS 1.2 only. "tickets" are TLS 1.2 only as well: Node's callback for
// ticket keys renews none, so that a TLS 1.3 resumption brings no new ticket, and
// the load generator waits for one from every server.

const crypto = require('crypto');
const fs = require('fs');
const readline = require('readline');
const tls = require('tls');
const { parseArgs } = require('util');

const LIFETIME = 3600; // seconds
const stores = ['none', 'tickets', 'der'];

const counters = {
  accepted: 0, handshakes: 0, resumed: 0, failed: 0, lookups: 0, hits: 0, stored: 0,
};

// works are what a connection does after its handshake. A socket whose peer has
// sent close_notify sends its own and ends (allowHalfOpen is false).
const zeros = Buffer.alloc(16 << 10);
const works = {
  handshake: (socket) => socket.resume(),
  echo: (socket) => {
    // Pausing bounds what is queued for a peer that does not read.
    socket.on('data', (data) => { if (!socket.write(data)) socket.pause(); });
    socket.on('drain', () => socket.resume());
  },
  source: (socket) => {
    const fill = () => { while (socket.writable && socket.write(zeros)); };
    // 'drain' comes before the next turn of the loop: without setImmediate one
    // connection that is read as fast as it is written keeps the others waiting.
    socket.once('data', () => { socket.on('drain', () => setImmediate(fill)); fill(); });
  },
  sink: (socket) => socket.resume(),
};

// MemoryStore drops the oldest when it is full: a Map iterates in the order of insertion.
class MemoryStore {
  constructor(bound, delay) {
    this.bound = bound;
    this.delay = delay;
    this.sessions = new Map();
  }

  put(id, der) {
    counters.stored++;
    const key = id.toString('latin1');
    if (!this.sessions.has(key) && this.sessions.size >= this.bound) {
      this.sessions.delete(this.sessions.keys().next().value);
    }
    this.sessions.set(key, { der, expires: Date.now() + LIFETIME * 1000 });
  }

  get(id, callback) {
    counters.lookups++;
    const answer = () => {
      const found = this.sessions.get(id.toString('latin1'));
      if (!found || found.expires < Date.now()) return callback(null, null);
      counters.hits++;
      callback(null, found.der);
    };
    if (this.delay > 0) setTimeout(answer, this.delay); else answer();
  }
}

function fail(code, message) {
  process.stderr.write(`node: ${message}\n`);
  process.exit(code);
}

// duration reads what Go's flag package does, in the units that are needed.
function duration(text) {
  const m = /^(\d+(?:\.\d+)?)(us|ms|s)$/.exec(text);
  if (text === '0') return 0;
  if (!m) fail(2, `-lookup-delay ${text}: it is a number with us, ms or s`);
  return Number(m[1]) * { us: 1e-3, ms: 1, s: 1e3 }[m[2]];
}

function options() {
  const string = (value) => ({ type: 'string', default: value });
  // Go's flags have one dash, those of parseArgs two.
  const args = process.argv.slice(2).map((a) => a.replace(/^-(?=[a-z])/, '--'));
  let o;
  try {
    o = parseArgs({
      args,
      options: {
        work: string('handshake'), version: string('1.3'), cert: string(''), key: string(''),
        'client-ca': string(''), store: string('none'), 'max-sessions': string('100000'),
        'lookup-delay': string('0'),
      },
    }).values;
  } catch (err) {
    fail(2, err.message);
  }
  o.delay = duration(o['lookup-delay']);
  o.bound = Number(o['max-sessions']);
  if (!Object.hasOwn(works, o.work)) fail(2, `-work ${o.work}: it is one of ${Object.keys(works).join(', ')}`);
  if (o.version !== '1.2' && o.version !== '1.3') fail(2, `-version ${o.version}: it is 1.2 or 1.3`);
  if (!o.cert || !o.key) fail(2, '-cert and -key are needed');
  if (!stores.includes(o.store)) fail(2, `-store ${o.store}: this peer has ${stores.join(', ')}`);
  if (o.store !== 'none' && o.version === '1.3') fail(2, `-store ${o.store}: this peer has it in TLS 1.2 only`);
  if (o.delay > 0 && o.store !== 'der') fail(2, '-lookup-delay: there are no lookups');
  if (!Number.isInteger(o.bound) || o.bound < 1) fail(2, `-max-sessions ${o['max-sessions']}: it is 1 or more`);
  if (!process.execArgv.some((a) => a.startsWith('--openssl-config='))) {
    process.stderr.write('node: not started by ./server: TLS 1.3 handshakes end with two tickets\n');
  }
  return o;
}

function main() {
  const o = options();
  const config = {
    cert: fs.readFileSync(o.cert),
    key: fs.readFileSync(o.key),
    minVersion: `TLSv${o.version}`,
    maxVersion: `TLSv${o.version}`,
    ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256',
    ecdhCurve: 'X25519:P-256', // the first is used, see bench/ours
    honorCipherOrder: false,
    sessionTimeout: LIFETIME,
    sessionIdContext: 'bench',
    noDelay: true,
    keepAlive: false,
  };
  if (o.store !== 'tickets') config.secureOptions = crypto.constants.SSL_OP_NO_TICKET;
  if (o['client-ca']) {
    config.ca = fs.readFileSync(o['client-ca']);
    config.requestCert = true;
    config.rejectUnauthorized = true;
  }
  const work = works[o.work];
  const server = tls.createServer(config, (socket) => {
    counters.handshakes++;
    if (socket.isSessionReused()) counters.resumed++;
    socket.on('error', () => socket.destroy());
    work(socket);
  });
  server.on('connection', () => { counters.accepted++; });
  server.on('tlsClientError', () => { counters.failed++; });
  if (o.store === 'der') {
    const store = new MemoryStore(o.bound, o.delay);
    server.on('newSession', (id, der, callback) => { store.put(id, der); callback(); });
    server.on('resumeSession', (id, callback) => store.get(id, callback));
  }
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
    process.stdout.write(`listening 127.0.0.1:${server.address().port}\n`);
    const lines = readline.createInterface({ input: process.stdin });
    lines.on('line', (line) => {
      if (line !== 'stats') fail(1, `stdin: ${JSON.stringify(line)} is not stats`);
      process.stdout.write(`${JSON.stringify(counters)}\n`);
    });
    lines.on('close', () => process.exit(0));
  });
}

main();
