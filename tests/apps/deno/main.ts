// A module that serves: it is told where by the environment.
Deno.serve((request: Request) => {
  const { pathname } = new URL(request.url);
  switch (pathname) {
    case "/":
      return new Response("hello from deno\n");
    case "/crash":
      Deno.kill(Deno.pid, "SIGKILL");
      break;
  }
  return new Response("not found\n", { status: 404 });
});
