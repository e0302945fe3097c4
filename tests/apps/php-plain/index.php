<?php
// A front controller in the app's own folder, with the usual routes: what is no file comes here.

const TEXT = "Content-Type: text/plain";

function answer(string $body, string $type = TEXT): void
{
    header($type);
    echo $body;
}

function headers_of(array $server): array
{
    $headers = [];
    foreach ($server as $name => $value) {
        if (str_starts_with($name, "HTTP_")) {
            $headers[strtolower(strtr(substr($name, 5), "_", "-"))] = $value;
        }
    }
    return $headers;
}

function stream(): void
{
    header(TEXT);
    // php.ini of Debian has one.
    while (ob_get_level() > 0) {
        ob_end_flush();
    }
    for ($i = 0; $i < ($_GET["n"] ?? 5); $i++) {
        if ($i > 0) {
            usleep(1000 * ($_GET["ms"] ?? 100));
        }
        echo "chunk $i\n";
        flush();
    }
}

switch (parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH)) {
    case "/":
        answer("hello from php-plain\n");
        break;
    case "/echo":
        answer(json_encode([
            "method" => $_SERVER["REQUEST_METHOD"],
            "query" => $_SERVER["QUERY_STRING"],
            "headers" => headers_of($_SERVER),
            "body" => file_get_contents("php://input"),
        ]), "Content-Type: application/json");
        break;
    case "/stream":
        stream();
        break;
    case "/crash":
        posix_kill(getmypid(), SIGKILL);
        break;
    case "/version":
        answer(file_get_contents(__DIR__ . "/VERSION"));
        break;
    default:
        http_response_code(404);
        answer("not found: " . $_SERVER["REQUEST_URI"] . "\n");
}
