import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

/** Bookinfo's reviews service: two reviews and, from v2 on, their stars. API-compatible with Istio's Bookinfo 1.20. */
public final class Reviews {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final boolean RATINGS_ENABLED = Boolean.parseBoolean(env("ENABLE_RATINGS", "false"));
    private static final String STAR_COLOR = env("STAR_COLOR", "black");
    private static final String RATINGS_URL =
        "http://" + env("RATINGS_HOSTNAME", "ratings")
            + (env("SERVICES_DOMAIN", "").isEmpty() ? "" : "." + env("SERVICES_DOMAIN", ""))
            + ":" + env("RATINGS_SERVICE_PORT", "9080") + "/ratings/";
    /** The two time-outs differ on purpose: a delayed ratings service breaks v3 and only slows v2. */
    private static final Duration RATINGS_TIMEOUT = Duration.ofMillis(STAR_COLOR.equals("black") ? 10_000 : 2_500);
    private static final List<String> FORWARDED = List.of(
        "x-request-id", "x-ot-span-context", "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority",
        "traceparent", "tracestate", "baggage", "x-cloud-trace-context", "grpc-trace-bin", "x-b3-traceid", "x-b3-spanid",
        "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "sw8", "end-user", "user-agent", "cookie", "authorization", "jwt");
    private static final Map<String, String> TEXTS = Map.of(
        "Reviewer1", "An extremely entertaining play: one mistake leads to the next, and every one of them is funny.",
        "Reviewer2", "Absolutely fun and entertaining, though lighter than the plays that came after it.");
    private static final HttpClient HTTP = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(2)).build();

    private Reviews() { }

    private static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    /** The stars of each reviewer, or null if the ratings service gave none in time. */
    private static JsonNode ratings(String productId, HttpExchange exchange) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(RATINGS_URL + productId)).timeout(RATINGS_TIMEOUT);
        for (String name : FORWARDED) {
            String value = exchange.getRequestHeaders().getFirst(name);
            if (value != null) {
                request.header(name, value);
            }
        }
        try {
            HttpResponse<String> response = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() == 200) {
                return JSON.readTree(response.body()).path("ratings");
            }
            System.err.println("ratings answered " + response.statusCode());
        } catch (IOException problem) {
            System.err.println("ratings: " + problem);
        } catch (InterruptedException problem) {
            Thread.currentThread().interrupt();
        }
        return null;
    }

    private static ObjectNode reviews(String productId, HttpExchange exchange) {
        JsonNode stars = RATINGS_ENABLED ? ratings(productId, exchange) : null;
        ObjectNode body = JSON.createObjectNode();
        body.put("id", productId);
        body.put("podname", env("HOSTNAME", "null"));
        body.put("clustername", env("CLUSTER_NAME", "null"));
        for (String reviewer : List.of("Reviewer1", "Reviewer2")) {
            ObjectNode review = body.withArray("/reviews").addObject();
            review.put("reviewer", reviewer);
            review.put("text", TEXTS.get(reviewer));
            if (RATINGS_ENABLED) {
                ObjectNode rating = review.putObject("rating");
                if (stars != null && stars.has(reviewer)) {
                    rating.put("stars", stars.get(reviewer).asInt());
                    rating.put("color", STAR_COLOR);
                } else {
                    rating.put("error", "Ratings service is currently unavailable");
                }
            }
        }
        return body;
    }

    private static void answer(HttpExchange exchange, int status, JsonNode body) throws IOException {
        byte[] bytes = JSON.writeValueAsBytes(body);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private static void handle(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        if (path.equals("/health")) {
            answer(exchange, 200, JSON.createObjectNode().put("status", "Reviews is healthy"));
        } else if (path.matches("/reviews/\\d+") && exchange.getRequestMethod().equals("GET")) {
            answer(exchange, 200, reviews(path.substring("/reviews/".length()), exchange));
        } else {
            answer(exchange, 404, JSON.createObjectNode().put("error", "no such page"));
        }
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(arguments.length > 0 ? Integer.parseInt(arguments[0]) : 9080), 256);
        server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
        server.createContext("/", Reviews::handle);
        server.start();
    }
}
