"""gunicorn's threaded worker whose applications are told the client's address, which a Unix socket does not have.

Never here: what they are told (`rip_wsgi`).
"""

from gunicorn.workers.gthread import ThreadWorker

from rip_wsgi import tell


class Worker(ThreadWorker):
    def load_wsgi(self):
        super().load_wsgi()
        self.wsgi = told(self.wsgi)


def told(application):
    def of_client(environ, start_response):
        tell(environ)
        return application(environ, start_response)

    return of_client
