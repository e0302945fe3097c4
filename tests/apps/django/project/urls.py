"""The usual routes as views."""

import os
import time
from pathlib import Path

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

HERE = Path(__file__).parent.parent


def root(request):
    return HttpResponse("hello from django\n", content_type="text/plain")


def echo(request):
    headers = {name.lower(): value for name, value in request.headers.items()}
    url = request.build_absolute_uri()
    return JsonResponse({"method": request.method, "url": url, "headers": headers, "body": request.body.decode()})


def stream(request):
    count, pause = (int(request.GET.get(name, otherwise)) for name, otherwise in (("n", 5), ("ms", 100)))

    def chunks():
        for i in range(count):
            if i:
                time.sleep(pause / 1000)
            yield f"chunk {i}\n"

    return StreamingHttpResponse(chunks(), content_type="text/plain")


def version(request):
    return HttpResponse((HERE / "VERSION").read_text(), content_type="text/plain")


def crash(request):
    os._exit(1)


urlpatterns = [
    path("", root),
    path("echo", echo),
    path("stream", stream),
    path("version", version),
    path("crash", crash),
]
