// A tour of what Node's mysql2 does: node mysql2.js
//
// Prints what it sees, the same wherever it is connected to. A line of three dots says that it
// waits for a line on its standard input before it goes on.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const readline = require('readline');
const mysql = require('mysql2/promise');

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
  supportBigNumbers: true,
  dateStrings: true,
  infileStreamFactory: (path) => fs.createReadStream(path),
};
if (process.env.ODP_CA) login.ssl = { ca: fs.readFileSync(process.env.ODP_CA) };

const types =
  'n INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, f FLOAT, d DOUBLE, c DECIMAL(20, 5), ' +
  'day DATE, at DATETIME(6), span TIME(6), y YEAR, v VARCHAR(50) CHARACTER SET utf8mb4, ' +
  "b VARBINARY(20), e ENUM('x', 'y'), s SET('p', 'q'), bits BIT(9), j JSON, t LONGTEXT";
const row = [
  1, -7, '18446744073709551615', 0.5, 1e300, '-12345.67890', '2026-02-28',
  '2026-02-28 01:02:03.456789', '-30:00:00.000005', 2026, 'naïve 🐬',
  Buffer.from([0, 255, 39, 92]), 'y', 'p,q', Buffer.from([1, 1]), '{"a": [1, null]}',
  'long '.repeat(1000),
];

const parts = {
  async types(one) {
    await one.query('DROP TABLE IF EXISTS t');
    await one.query(`CREATE TABLE t (${types})`);
    const marks = row.map(() => '?').join(', ');
    say((await one.query(`INSERT INTO t VALUES (${marks})`, row))[0].affectedRows);
    say((await one.execute(`REPLACE INTO t VALUES (${marks})`, row))[0].affectedRows);
    await one.execute('INSERT INTO t (n) VALUES (2)');
    say((await one.query('SELECT * FROM t ORDER BY n'))[0]);
    const statement = await one.prepare('SELECT * FROM t WHERE n = ?');
    for (const n of [1, 2, 3]) {
      say((await statement.execute([n]))[0]);
      await wait();
    }
    await statement.close();
  },

  async transactions(one) {
    await one.beginTransaction();
    await one.query("INSERT INTO t (n, v) VALUES (3, 'gone')");
    await wait();
    await one.rollback();
    await one.beginTransaction();
    await one.execute("UPDATE t SET v = 'kept' WHERE n = ?", [2]);
    await wait();
    say((await one.query('SELECT v FROM t WHERE n = 2'))[0]);
    await one.commit();
    say((await one.query('SELECT COUNT(*) AS n FROM t'))[0]);
  },

  // Rows that are read while nothing of them is kept, with a wait in the middle.
  async large(one) {
    const five = '(SELECT 0 i UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)';
    const rows = `SELECT a.i + 5 * b.i + 25 * c.i AS n FROM ${five} a, ${five} b, ${five} c`;
    const digest = crypto.createHash('sha1');
    let count = 0;
    const sql = `SELECT n, REPEAT(CHAR(65 + n % 26), 30000) AS v FROM (${rows}) r ORDER BY n`;
    for await (const found of one.connection.query(sql).stream()) {
      digest.update(JSON.stringify(found));
      count += 1;
      if (count === 20) await wait();
    }
    say(count, digest.digest('hex'));
  },

  async manyResults(one) {
    await one.query('DROP PROCEDURE IF EXISTS two');
    await one.query("CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 'b'; END");
    say((await one.query('SELECT 1; SET @a = 5; SELECT @a, 2'))[0]);
    say((await one.query('CALL two()'))[0]);
  },

  async errors(one) {
    for (const sql of ['SELECT * FROM nowhere', 'SELECT FROM', 'INSERT INTO t (n) VALUES (1)']) {
      for (const way of ['query', 'execute']) {
        await one[way](sql).then(
          () => say('no error'),
          ({ errno, sqlState, sqlMessage }) => say(errno, sqlState, sqlMessage),
        );
      }
    }
  },

  async file(one) {
    await one.query('DELETE FROM t');
    const load = `LOAD DATA LOCAL INFILE '${process.env.ODP_FILE}' INTO TABLE t (n, v)`;
    say((await one.query(load))[0].affectedRows);
    say((await one.query('SELECT COUNT(*), SUM(n), MAX(v) FROM t'))[0]);
  },

  // The driver knows connections by the id in their greeting.
  async kills(one) {
    const many = mysql.createPool({ ...login, connectionLimit: 5 });
    const ids = [];
    const gone = [];
    many.pool.on('connection', (connection) => {
      ids.push(connection.threadId);
      gone.push(new Promise((resolve) => connection.on('error', ({ code }) => resolve(code))));
    });
    say(await Promise.all([...Array(10).keys()].map((n) => many.query('SELECT ? AS n', n).then(([rows]) => rows))));
    await wait();
    say(ids.length);
    const [first, second, third, ...others] = ids;
    say((await one.query('KILL ?; SELECT SLEEP(0.05)', [first]))[0].length);
    // MySQL takes no parameter there since 9.
    for (const id of [second, String(third)]) {
      await one.execute('KILL ?', [id]).then(
        ([{ affectedRows }]) => say(affectedRows),
        async ({ errno }) => say(errno, (await one.query(`KILL ${id}`))[0].affectedRows),
      );
    }
    await wait();
    for (const id of others) await one.query('KILL ?; SELECT SLEEP(0.05)', [id]);
    say((await Promise.all(gone)).length);
    await many.end();
    const [[{ id }]] = await one.query('SELECT CONNECTION_ID() AS id');
    const [[row]] = await one.execute('SELECT ID AS id FROM information_schema.processlist WHERE id = ?', [id]);
    say(row.id === id);
  },

  // State that is kept, and state that ends.
  async session(one) {
    await one.query("SET @kept = 'yes'");
    await wait();
    say((await one.query('SELECT @kept'))[0]);
    await one.ping();
    await one.reset();
    say((await one.query('SELECT @kept'))[0]);
    await one.changeUser({ user: login.user, password: login.password, database: login.database });
    say((await one.query('SELECT @kept, DATABASE()'))[0]);
  },
};

async function pool() {
  const many = mysql.createPool({ ...login, connectionLimit: 5 });
  const count = async (n) => (await many.execute('SELECT ? + COUNT(*) AS n FROM t', [n]))[0];
  say(await Promise.all([...Array(10).keys()].map(count)));
  await wait();
  say(await Promise.all([...Array(10).keys()].map(count)));
  await many.end();
}

async function main() {
  const one = await mysql.createConnection(login);
  await wait();
  for (const [name, part] of Object.entries(parts)) {
    say(name);
    await part(one);
  }
  await one.end();
  await pool();
  say('done');
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
