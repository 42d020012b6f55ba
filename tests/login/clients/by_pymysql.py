"""PyMySQL."""

import ssl

import pymysql
from pymysql.constants import COMMAND


class Connection:
    def __init__(self, cell, user, passwords):
        [password] = passwords
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
        self.connection = pymysql.connect(**arguments)

    def tls(self):
        return self.connection._sock.version().removeprefix("TLSv")

    def one(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()

    def change_user(self, user, passwords):
        """COM_CHANGE_USER with no answer to a challenge, as PyMySQL does the rest of a log-in."""
        connection = self.connection
        [password] = passwords
        connection.user, connection.password = user.encode(), password.encode()
        body = connection.user + b"\0" + b"\0" + b"p\0" + b"\x2d\0" + b"no_such_plugin\0" + b"\0"
        connection._execute_command(COMMAND.COM_CHANGE_USER, body)
        packet = connection._read_packet()
        while packet.is_auth_switch_request():
            packet.read_uint8()
            packet = connection._process_auth(packet.read_string(), packet)
            if packet is None:
                # It has read the verdict, and thrown it away.
                return
        if not packet.is_ok_packet():
            raise AssertionError("COM_CHANGE_USER ends without an OK")

    def close(self):
        self.connection.close()
