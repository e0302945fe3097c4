"""Clients that connect, ask and leave before the answer, again and again, for as long as the block runs."""

import random
import socket
import struct
import threading
import time

from .peers.peer import ANY

CLIENTS = 4
PER_SECOND = 50
# Some are still in the queue then, some with a worker: an answer takes 5 to 85 ms.
LONGEST_STAY = 0.09


class HangUps:
    def __init__(self, port, path):
        self.port, self.path = port, path
        self.left, self.failed = 0, None
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.again_and_again, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def again_and_again(self, number):
        chance = random.Random(number)
        # Each has its share of the seconds, whatever it needs for connecting.
        due = time.monotonic() + number / PER_SECOND
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due += CLIENTS / PER_SECOND
            try:
                self.ask_and_leave(chance)
                self.left += 1
            except OSError as error:
                self.failed = error

    def ask_and_leave(self, chance):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        with ANY.wrap_socket(plain) as connection:
            connection.sendall(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.over.wait(chance.uniform(0, LONGEST_STAY))
            if chance.random() < 0.5:
                # A reset in place of an orderly end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
