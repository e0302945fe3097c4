import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** A program that listens on the address and port which it is told as Spring Boot is. */
public class Hello {
    public static void main(String[] arguments) throws IOException {
        var address = System.getProperty("server.address");
        var port = Integer.getInteger("server.port");
        var server = HttpServer.create(new InetSocketAddress(address, port), 0);
        server.createContext("/", Hello::answer);
        server.start();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        var path = exchange.getRequestURI().getPath();
        if (path.equals("/crash")) {
            Runtime.getRuntime().halt(1);
        }
        var found = path.equals("/");
        var body = (found ? "hello from java\n" : "not found\n").getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(found ? 200 : 404, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
