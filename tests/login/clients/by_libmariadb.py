"""MariaDB's own library for clients, with its plugins from the directory $MARIADB_PLUGIN_DIR.

A plugin that asks a person does so on the standard streams of C: it hears the second password, and
what it says goes nowhere.
"""

import ctypes
import os

COMPRESS, SSL_VERIFY_SERVER_CERT, PLUGIN_DIR, SSL_CA, SSL_ENFORCE = 1, 21, 22, 27, 38
TLS_VERSION = 7005
CONNECTION_TLS_VERSION = 23

library = ctypes.CDLL("libmariadb.so.3")
library.mysql_init.restype = ctypes.c_void_p
library.mysql_real_connect.restype = ctypes.c_void_p
library.mysql_error.restype = ctypes.c_char_p
library.mysql_store_result.restype = ctypes.c_void_p
library.mysql_fetch_row.restype = ctypes.POINTER(ctypes.c_char_p)

answers, answers_for_it = os.pipe()
os.dup2(answers, 0)


class Connection:
    def __init__(self, cell, user, passwords):
        self.handle = ctypes.c_void_p(library.mysql_init(None))
        self.set(PLUGIN_DIR, os.environ["MARIADB_PLUGIN_DIR"].encode())
        self.set(SSL_ENFORCE, ctypes.byref(ctypes.c_bool(bool(cell["tls"]))))
        self.set(SSL_VERIFY_SERVER_CERT, ctypes.byref(ctypes.c_bool(bool(cell["tls"]))))
        if cell["tls"]:
            self.set(SSL_CA, cell["ca"].encode())
            self.set(TLS_VERSION, ("TLSv" + cell["tls"]).encode())
        if cell["compress"]:
            self.set(COMPRESS, None)
        host = None if "socket" in cell else cell["host"].encode()
        socket = cell["socket"].encode() if "socket" in cell else None
        port = cell.get("port", 0)
        arguments = (host, user.encode(), answering(passwords), b"p", port, socket)
        if not library.mysql_real_connect(self.handle, *arguments, ctypes.c_ulong(0)):
            self.fail()

    def set(self, option, value):
        if library.mysql_optionsv(self.handle, option, value) != 0:
            raise AssertionError(f"option {option}")

    def fail(self):
        raise ConnectionError(library.mysql_error(self.handle).decode())

    def tls(self):
        version = ctypes.c_char_p()
        library.mariadb_get_infov(self.handle, CONNECTION_TLS_VERSION, ctypes.byref(version))
        return version.value.decode().removeprefix("TLSv")

    def one(self, sql):
        if library.mysql_real_query(self.handle, sql.encode(), ctypes.c_ulong(len(sql))) != 0:
            self.fail()
        result = ctypes.c_void_p(library.mysql_store_result(self.handle))
        if not result:
            return None
        row = library.mysql_fetch_row(result)
        columns = library.mysql_num_fields(result)
        values = [row[column].decode() for column in range(columns)] if row else None
        library.mysql_free_result(result)
        return values

    def change_user(self, user, passwords):
        if library.mysql_change_user(self.handle, user.encode(), answering(passwords), b"p") != 0:
            self.fail()

    def close(self):
        library.mysql_close(self.handle)


def answering(passwords):
    """The first password; the others wait for who asks."""
    for password in passwords[1:]:
        os.write(answers_for_it, password.encode() + b"\n")
    return passwords[0].encode()
