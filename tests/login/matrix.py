"""Logs in to every cell of a matrix with PyMySQL, and goes on with every session when told to.

Standard input: one JSON object a line. The first is the list of cells; each later line is a step,
and what it holds is ignored. Standard output: for each step one JSON object, cell -> "ok" or what
went wrong. A step logs in where there is no session yet (the first), else it uses the sessions, and
logs in to each cell once more beside them.

A cell: name, host or socket, port, user, password, tls (null, "1.2" or "1.3"), ca, server_tls
(whether the server must see TLS), change (a user and a password for COM_CHANGE_USER, or null),
before (a statement to be said first, by the administrator: its user and password are `admin`).
"""

import json
import ssl
import sys
import traceback

import pymysql
from pymysql.constants import COMMAND


def connect(cell, user, password):
    arguments = {"user": user, "password": password, "database": "p", "read_timeout": 60}
    if "socket" in cell:
        arguments["unix_socket"] = cell["socket"]
    else:
        arguments.update(host=cell["host"], port=cell["port"])
    if cell["tls"]:
        context = ssl.create_default_context(cafile=cell["ca"])
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[cell["tls"]]
        context.minimum_version = context.maximum_version = version
        arguments["ssl"] = context
    else:
        arguments["ssl_disabled"] = True
    return pymysql.connect(**arguments)


def one(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def expect(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, expected {expected!r}")


def begin(cell):
    if cell["before"]:
        admin = connect(cell | {"tls": None}, *cell["admin"])
        with admin.cursor() as cursor:
            cursor.execute(cell["before"])
        admin.close()
    connection = connect(cell, cell["user"], cell["password"])
    if cell["tls"]:
        expect("client TLS", connection._sock.version(), "TLSv" + cell["tls"])
    one(connection, "SET @kept = 'x'")
    return connection


def use(cell, connection, user):
    expect("user", one(connection, "SELECT SUBSTRING_INDEX(USER(), '@', 1)")[0], user)
    expect("variable", one(connection, "SELECT @kept")[0], "x")
    cipher = one(connection, "SHOW STATUS LIKE 'Ssl_cipher'")
    if cipher is not None:
        expect("server TLS", cipher[1] != "", cell["server_tls"])
    expect("a long answer", one(connection, "SELECT REPEAT('y', 300000)")[0], "y" * 300000)
    expect("a long question", one(connection, f"SELECT LENGTH('{'z' * 300000}')")[0], 300000)


def change_user(connection, user, password):
    """COM_CHANGE_USER with no answer to a challenge, as PyMySQL does the rest of a log-in."""
    connection.user, connection.password = user.encode(), password.encode()
    body = connection.user + b"\0" + b"\0" + b"p\0" + b"\x2d\0" + b"no_such_plugin\0" + b"\0"
    connection._execute_command(COMMAND.COM_CHANGE_USER, body)
    packet = connection._read_packet()
    while packet.is_auth_switch_request():
        packet.read_uint8()
        packet = connection._process_auth(packet.read_string(), packet)
        if packet is None:
            # It has read the verdict, and thrown it away.
            break
    if packet is not None:
        expect("the verdict", packet.is_ok_packet(), True)
    one(connection, "SET @kept = 'x'")


def step(cell, sessions):
    name = cell["name"]
    user = cell["user"]
    if name in sessions:
        connection, user = sessions[name]
        use(cell, connection, user)
        if cell["change"]:
            user, password = cell["change"]
            change_user(connection, user, password)
            use(cell, connection, user)
            connection.close()
            del sessions[name]
    connection = begin(cell)
    use(cell, connection, cell["user"])
    if name in sessions:
        connection.close()
    else:
        sessions[name] = (connection, cell["user"])


def main():
    cells = json.loads(sys.stdin.readline())
    sessions = {}
    for _ in sys.stdin:
        outcome = {}
        for cell in cells:
            try:
                step(cell, sessions)
                outcome[cell["name"]] = "ok"
            except Exception as error:  # whatever it is, it is this cell's
                where = traceback.extract_tb(error.__traceback__)[-1]
                outcome[cell["name"]] = f"{where.name}:{where.lineno} {error!r}"
        print(json.dumps(outcome), flush=True)


main()
