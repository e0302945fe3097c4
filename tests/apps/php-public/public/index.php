<?php
// Of this app only the folder `public` is reached, as Laravel and Symfony have it.

require __DIR__ . "/../src/hello.php";

header("Content-Type: text/plain");
if ($_SERVER["REQUEST_URI"] === "/crash") {
    posix_kill(getmypid(), SIGKILL);
}
if ($_SERVER["REQUEST_URI"] !== "/") {
    http_response_code(404);
    exit("not found\n");
}
echo hello();
