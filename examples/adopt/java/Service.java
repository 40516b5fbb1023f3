import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsExchange;
import com.sun.net.httpserver.HttpsParameters;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import javax.net.ssl.SSLPeerUnverifiedException;

/**
 * A service: {@code Service serve FOLDER LISTEN} answers with who called, {@code Service call FOLDER URL} calls, and with
 * {@code token} after that brings a token. The JDK has no reader of JSON: what access.json says stands here as constants, and
 * a service takes it from there with the library that it has.
 */
final class Service {
    static final Map<String, String> BUNDLES = Map.of("storefront", "bundle.storefront.pem", "settlement", "bundle.settlement.pem");
    static final Set<String> CALLERS = Set.of("spiffe://storefront/ns/storefront/sa/order");
    static final Map<String, String> CALLEES = Map.of("localhost", "spiffe://settlement/ns/settlement/sa/payment");

    private Service() {}

    public static void main(String[] arguments) throws Exception {
        var folder = Path.of(arguments[1]);
        var current = new AtomicReference<>(Delivered.read(folder, BUNDLES));
        var follow = Executors.newSingleThreadScheduledExecutor(task -> {
            var thread = new Thread(task, "files");
            thread.setDaemon(true);
            return thread;
        });
        follow.scheduleWithFixedDelay(() -> {
            try {
                current.set(Delivered.read(folder, BUNDLES));
            } catch (IOException | GeneralSecurityException | RuntimeException error) {
                System.err.println("what was read before stays in use: " + error);
            }
        }, 2, 2, TimeUnit.SECONDS);
        if (arguments[0].equals("serve")) {
            serve(current, Integer.parseInt(arguments[2]));
        } else {
            var request = HttpRequest.newBuilder(URI.create(arguments[2]));
            if (arguments.length > 3) {
                request.header("Authorization", "Bearer " + Token.sign(folder, "ES256", CALLERS.iterator().next(), "payment.settlement.svc", 300));
            }
            // What was verified when a connection began holds until it ends: after a change a service takes another client.
            var client = HttpClient.newBuilder().sslContext(Tls.context(current::get, CALLEES)).build();
            var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body().strip());
        }
    }

    private static void serve(AtomicReference<Delivered> current, int port) throws IOException, GeneralSecurityException {
        var server = HttpsServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(Tls.context(current::get, Map.of())) {
            @Override public void configure(HttpsParameters parameters) {
                var tls = getSSLContext().getDefaultSSLParameters();
                tls.setNeedClientAuth(true); // Or setWantClientAuth for Optional.
                parameters.setSSLParameters(tls);
            }
        });
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            var caller = caller(exchange, current.get());
            var allowed = CALLERS.contains(caller);
            var body = (allowed ? "{\"caller\":\"" + caller + "\"}\n" : "Forbidden\n").getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(allowed ? 200 : 403, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }

    /** Who calls, by what is delivered now: the connection, or the session that it took up again, may be older. */
    private static String caller(HttpExchange exchange, Delivered delivered) {
        try {
            var shown = ((HttpsExchange) exchange).getSSLSession().getPeerCertificates();
            return delivered.verify(Arrays.copyOf(shown, shown.length, X509Certificate[].class), Delivered.CLIENT);
        } catch (SSLPeerUnverifiedException | CertificateException error) {
            System.err.println("refused: " + error);
            return "";
        }
    }
}
