import java.net.Socket;
import java.security.GeneralSecurityException;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedKeyManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** TLS with what was delivered last: one SSLContext for the life of the process. */
final class Tls {
    private Tls() {}

    /** Callees says which SPIFFE ID a host name stands for, as access.json has it. */
    static SSLContext context(Supplier<Delivered> current, Map<String, String> callees) throws GeneralSecurityException {
        var context = SSLContext.getInstance("TLS");
        context.init(new KeyManager[] {new Own(current)}, new TrustManager[] {new Peers(current, callees)}, null);
        return context;
    }

    /** Shows the own certificate. */
    private static final class Own extends X509ExtendedKeyManager {
        private final Supplier<Delivered> current;
        /** By serial number, so that a key never goes with another's certificate: one entry for each renewal. */
        private final Map<String, Delivered> chosen = new ConcurrentHashMap<>();

        Own(Supplier<Delivered> current) {
            this.current = current;
        }

        private String choose(String type) {
            var delivered = current.get();
            var alias = delivered.chain()[0].getSerialNumber().toString();
            chosen.put(alias, delivered);
            return type.equals(delivered.key().getAlgorithm()) ? alias : null;
        }

        @Override public String chooseEngineServerAlias(String type, Principal[] issuers, SSLEngine engine) {
            return choose(type);
        }

        @Override public String chooseEngineClientAlias(String[] types, Principal[] issuers, SSLEngine engine) {
            return Arrays.stream(types).map(this::choose).filter(Objects::nonNull).findFirst().orElse(null);
        }

        @Override public String chooseServerAlias(String type, Principal[] issuers, Socket socket) {
            return choose(type);
        }

        @Override public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) {
            return chooseEngineClientAlias(types, issuers, null);
        }

        @Override public X509Certificate[] getCertificateChain(String alias) {
            return chosen.get(alias).chain();
        }

        @Override public PrivateKey getPrivateKey(String alias) {
            return chosen.get(alias).key();
        }

        @Override public String[] getClientAliases(String type, Principal[] issuers) {
            return null;
        }

        @Override public String[] getServerAliases(String type, Principal[] issuers) {
            return null;
        }
    }

    /** Verifies peers. An extended trust manager stands for the check of the host name too. */
    private static final class Peers extends X509ExtendedTrustManager {
        private final Supplier<Delivered> current;
        private final Map<String, String> callees;

        Peers(Supplier<Delivered> current, Map<String, String> callees) {
            this.current = current;
            this.callees = callees;
        }

        @Override public void checkClientTrusted(X509Certificate[] shown, String type, SSLEngine engine) throws CertificateException {
            current.get().verify(shown, Delivered.CLIENT);
        }

        @Override public void checkServerTrusted(X509Certificate[] shown, String type, SSLEngine engine) throws CertificateException {
            var id = current.get().verify(shown, Delivered.SERVER);
            if (!id.equals(callees.get(engine.getPeerHost()))) {
                throw new CertificateException(id + " answers in place of " + engine.getPeerHost());
            }
        }

        @Override public void checkClientTrusted(X509Certificate[] shown, String type, Socket socket) throws CertificateException {
            throw new CertificateException("only engines are served");
        }

        @Override public void checkServerTrusted(X509Certificate[] shown, String type, Socket socket) throws CertificateException {
            throw new CertificateException("only engines are served");
        }

        @Override public void checkClientTrusted(X509Certificate[] shown, String type) throws CertificateException {
            throw new CertificateException("only engines are served");
        }

        @Override public void checkServerTrusted(X509Certificate[] shown, String type) throws CertificateException {
            throw new CertificateException("only engines are served");
        }

        @Override public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }
}
