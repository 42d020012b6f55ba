// A tour of what Node's mysql does, which knows no authentication plugins: node mysqljs.js
//
// Prints what it sees, the same wherever it is connected to. A line of three dots says that it
// waits for a line on its standard input before it goes on.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const readline = require('readline');
const util = require('util');
const mysql = require('mysql');

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (...what) => console.log(...what.map((it) => JSON.stringify(it)));
const wait = async () => {
  console.log('...');
  await lines.next();
};

const login = {
  host: '127.0.0.1',
  port: Number(process.env.ODP_PORT),
  user: process.env.ODP_USER,
  password: process.env.ODP_PASSWORD,
  database: process.env.ODP_DATABASE,
  multipleStatements: true,
  dateStrings: true,
};
if (process.env.ODP_CA) {
  login.ssl = { ca: fs.readFileSync(process.env.ODP_CA), checkServerIdentity: () => undefined };
}

// With promises in the place of callbacks.
const promising = (connection, ...names) =>
  Object.fromEntries(
    names.map((name) => [name, util.promisify(connection[name]).bind(connection)]),
  );

async function open(options) {
  const connection = mysql.createConnection({ ...login, ...options });
  const one = promising(connection, 'connect', 'query', 'ping', 'changeUser', 'end');
  await one.connect();
  return one;
}

async function failure(promise) {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return [error.code, error.errno, error.sqlMessage];
  }
}

async function statements(one) {
  await one.query('DROP TABLE IF EXISTS t');
  await one.query('CREATE TABLE t (n INT PRIMARY KEY, v VARCHAR(50), day DATE, t LONGTEXT)');
  const inserted = await one.query('INSERT INTO t VALUES (1, ?, ?, REPEAT("long ", 1000))', [
    'naïve',
    '2026-02-28',
  ]);
  say(inserted.affectedRows);
  await wait();
  say(await one.query('SELECT n, v, day, LENGTH(t) FROM t'));
  say(await one.query('SELECT 1 AS a; SELECT 2 AS b, 3 AS c'));
  await one.query('START TRANSACTION; DELETE FROM t');
  await wait();
  await one.query('ROLLBACK');
  say(await one.query('SELECT COUNT(*) AS count FROM t'));
  const [{ long }] = await one.query('SELECT REPEAT("x", 1000000) AS `long`');
  say(crypto.createHash('sha256').update(long).digest('hex'));
  say(await failure(one.query('SELECT * FROM nowhere')));
  await one.ping();
}

async function users(one) {
  await one.query('DROP USER IF EXISTS js_bare, js_known');
  await one.query('CREATE USER js_bare; CREATE USER js_known IDENTIFIED BY "known-secret"');
  await one.query('GRANT ALL ON p.* TO js_bare; GRANT ALL ON p.* TO js_known');
  for (const [user, password] of [
    ['js_bare', undefined],
    ['js_known', 'known-secret'],
  ]) {
    const other = await open({ user, password, database: undefined });
    say(await other.query('SELECT USER() AS user'));
    await wait();
    say(await other.query('SELECT USER() AS user'));
    await other.end();
  }
  for (const [user, password] of [
    ['js_bare', 'wrong'],
    ['js_known', 'wrong'],
    ['js_known', undefined],
    ['nobody', 'wrong'],
  ]) {
    say(user, await failure(open({ user, password, database: undefined })));
  }
  await one.query('SET @kept = 1');
  await one.changeUser({ user: 'js_known', password: 'known-secret', database: null });
  say(await one.query('SELECT USER() AS user, @kept AS kept'));
  await wait();
  await one.changeUser({ user: login.user, password: login.password, database: null });
  say(await one.query('SELECT USER() AS user'));
}

async function pool() {
  const pool = mysql.createPool({ ...login, connectionLimit: 10 });
  const query = util.promisify(pool.query).bind(pool);
  const all = await Promise.all(Array.from({ length: 200 }, (_, n) => query('SELECT ? AS n', [n])));
  say(all.reduce((sum, [{ n }]) => sum + n, 0));
  await wait();
  say(await query('SELECT "still here" AS it'));
  await util.promisify(pool.end).bind(pool)();
}

async function main() {
  const one = await open({});
  await wait();
  await statements(one);
  await users(one);
  await one.end();
  await pool();
  say('done');
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
