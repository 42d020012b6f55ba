"""A tour of what Python's clients do: python dbapi.py pymysql|MySQLdb|mysql.connector

Prints what it sees, the same wherever it is connected to. A line of three dots says that it waits
for a line on its standard input before it goes on.
"""

import datetime
import decimal
import hashlib
import importlib
import os
import sys

HOST, PORT = "127.0.0.1", int(os.environ["ODP_PORT"])
USER, PASSWORD, DATABASE = os.environ["ODP_USER"], os.environ["ODP_PASSWORD"], os.environ["ODP_DATABASE"]
FILE, CA = os.environ["ODP_FILE"], os.environ.get("ODP_CA")
NAME = sys.argv[1]
driver = importlib.import_module(NAME)
multi_statements = 1 << 16


def connect():
    login = {"host": HOST, "port": PORT, "user": USER, "password": PASSWORD, "database": DATABASE}
    if NAME == "mysql.connector":
        tls = {"ssl_ca": CA, "ssl_verify_cert": True} if CA else {"ssl_disabled": True}
        return driver.connect(**login, **tls, allow_local_infile=True, autocommit=False)
    login.update(client_flag=multi_statements, local_infile=True, charset="utf8mb4")
    if CA:
        login["ssl"] = {"ca": CA}
    elif NAME == "pymysql":
        login["ssl_disabled"] = True
    return driver.connect(**login)


def say(*what):
    print(*what, flush=True)


def wait():
    say("...")
    sys.stdin.readline()


def run(connection, sql, arguments=()):
    cursor = connection.cursor()
    cursor.execute(sql, arguments or None)
    rows = cursor.fetchall() if cursor.description else cursor.rowcount
    cursor.close()
    return rows


def fails(connection, sql):
    try:
        run(connection, sql)
    except driver.Error as error:
        return type(error).__name__, error.args[0]
    return "no error"


TYPES = (
    "n INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, f FLOAT, d DOUBLE, c DECIMAL(20, 5), "
    "day DATE, at DATETIME(6), span TIME(6), y YEAR, v VARCHAR(50) CHARACTER SET utf8mb4, "
    "b VARBINARY(20), e ENUM('x', 'y'), s SET('p', 'q'), bits BIT(9), j JSON, t LONGTEXT"
)
ROW = (
    1, -7, 2**64 - 1, 0.5, 1e300, decimal.Decimal("-12345.67890"), datetime.date(2026, 2, 28),
    datetime.datetime(2026, 2, 28, 1, 2, 3, 456789), datetime.timedelta(hours=-30, microseconds=5),
    2026, "naïve 🐬", b"\x00\xff'\\", "y", "p,q", 257, '{"a": [1, null]}', "long " * 1000,
)


def types(connection):
    run(connection, "DROP TABLE IF EXISTS t")
    run(connection, f"CREATE TABLE t ({TYPES})")
    marks = ", ".join(["%s"] * len(ROW))
    say(run(connection, f"INSERT INTO t VALUES ({marks})", ROW))
    say(run(connection, "INSERT INTO t (n) VALUES (2)"))
    connection.commit()
    say(run(connection, "SELECT * FROM t ORDER BY n"))
    if NAME == "mysql.connector":
        cursor = connection.cursor(prepared=True)
        for n in (1, 2, 3):
            cursor.execute("SELECT * FROM t WHERE n = %s", (n,))
            say(cursor.fetchall())
            wait()
        cursor.close()


def transactions(connection):
    run(connection, "INSERT INTO t (n, v) VALUES (3, 'gone')")
    wait()
    connection.rollback()
    run(connection, "UPDATE t SET v = 'kept' WHERE n = 2")
    wait()
    say(run(connection, "SELECT v FROM t WHERE n = 2"))
    connection.commit()
    say(run(connection, "SELECT COUNT(*) FROM t"))


def large(connection):
    """Rows that are read while nothing of them is kept, with a wait in the middle."""
    if NAME == "mysql.connector":
        cursor = connection.cursor()
    else:
        cursor = connection.cursor(importlib.import_module(NAME + ".cursors").SSCursor)
    ten = "(SELECT 0 i UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)"
    rows = f"SELECT a.i + 5 * b.i + 25 * c.i AS n FROM {ten} a, {ten} b, {ten} c"
    cursor.execute(f"SELECT n, REPEAT(CHAR(65 + n % 26), 30000) FROM ({rows}) r ORDER BY n")
    digest = hashlib.sha1()
    for count in range(125):
        digest.update(repr(cursor.fetchone()).encode())
        if count == 20:
            wait()
    say(cursor.fetchone(), digest.hexdigest())
    cursor.close()


def many_results(connection):
    run(connection, "DROP PROCEDURE IF EXISTS two")
    run(connection, "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 'b'; END")
    for sql in ("SELECT 1; SET @a = 5; SELECT @a, 2", "CALL two()"):
        cursor = connection.cursor()
        cursor.execute(sql)
        while True:
            say(cursor.fetchall() if cursor.description else "no rows")
            if not cursor.nextset():
                break
        cursor.close()


def errors(connection):
    for sql in ("SELECT * FROM nowhere", "SELECT FROM", "INSERT INTO t (n) VALUES (1)"):
        say(fails(connection, sql))
    connection.rollback()


def file(connection):
    run(connection, "DELETE FROM t")
    say(run(connection, f"LOAD DATA LOCAL INFILE '{FILE}' INTO TABLE t (n, v)"))
    connection.commit()
    say(run(connection, "SELECT COUNT(*), SUM(n), MAX(v) FROM t"))


def session(connection):
    """State that is kept, and state that ends."""
    run(connection, "SET @kept = 'yes'")
    wait()
    say(run(connection, "SELECT @kept"))
    connection.ping()
    if NAME == "mysql.connector":
        connection.reset_session()
        say(run(connection, "SELECT @kept"))
        connection.cmd_change_user(USER, PASSWORD, DATABASE)
        say(run(connection, "SELECT @kept, DATABASE()"))
    if NAME == "MySQLdb":
        connection.change_user(USER, PASSWORD, DATABASE)
        say(run(connection, "SELECT @kept, DATABASE()"))


def many():
    connections = [connect() for _ in range(5)]
    wait()
    for number, connection in enumerate(connections):
        say(run(connection, "SELECT %s + COUNT(*) FROM t", (number,)))
        connection.close()


one = connect()
wait()
for part in (types, transactions, large, many_results, errors, file, session):
    say(part.__name__)
    part(one)
one.close()
many()
say("done")
