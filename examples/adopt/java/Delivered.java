import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertStore;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** What is mounted below a folder, read once: own key and certificate, and what verifies the peers of each trust domain. */
record Delivered(PrivateKey key, X509Certificate[] chain, Map<String, Set<TrustAnchor>> bundles, CertStore lists) {
    static final String CLIENT = "1.3.6.1.5.5.7.3.2";
    static final String SERVER = "1.3.6.1.5.5.7.3.1";
    private static final Pattern ID = Pattern.compile("spiffe://([a-z0-9._-]+)/ns/[a-z0-9-]+/sa/[a-z0-9.-]+");

    /** Reads the files. The bundles are those of access.json: trust domain, and name of the file. */
    static Delivered read(Path folder, Map<String, String> bundles) throws IOException, GeneralSecurityException {
        Path tls = data(folder.resolve("tls"));
        Path trust = data(folder.resolve("trust"));
        var chain = certificates(tls.resolve("tls.crt")).toArray(new X509Certificate[0]);
        var key = KeyFactory.getInstance(chain[0].getPublicKey().getAlgorithm())
            .generatePrivate(new PKCS8EncodedKeySpec(pem(tls.resolve("tls.key"))));
        var anchors = new HashMap<String, Set<TrustAnchor>>();
        for (var bundle : bundles.entrySet()) {
            for (var authority : certificates(trust.resolve(bundle.getValue()))) {
                anchors.computeIfAbsent(bundle.getKey(), name -> new HashSet<>()).add(new TrustAnchor(authority, null));
            }
        }
        try (var file = Files.newInputStream(trust.resolve("crl.pem"))) {
            var lists = CertificateFactory.getInstance("X.509").generateCRLs(file);
            return new Delivered(key, chain, anchors, store(lists));
        }
    }

    /** The SPIFFE ID of a peer whose chain ends at the bundle of the trust domain that this ID names. */
    String verify(X509Certificate[] shown, String usage) throws CertificateException {
        var names = shown[0].getSubjectAlternativeNames();
        var uris = (names == null ? List.<List<?>>of() : names).stream().filter(name -> name.get(0).equals(6)).toList();
        var id = ID.matcher(uris.size() == 1 ? (String) uris.get(0).get(1) : "");
        if (!id.matches() || !bundles.containsKey(id.group(1))) {
            throw new CertificateException("the peer is " + uris);
        }
        try {
            var peer = new X509CertSelector();
            peer.setCertificate(shown[0]);
            peer.setExtendedKeyUsage(Set.of(usage));
            var path = new PKIXBuilderParameters(bundles.get(id.group(1)), peer);
            path.addCertStore(store(List.of(shown)));
            path.addCertStore(lists);
            var builder = CertPathBuilder.getInstance("PKIX");
            var revocation = (PKIXRevocationChecker) builder.getRevocationChecker();
            revocation.setOptions(EnumSet.of(
                PKIXRevocationChecker.Option.PREFER_CRLS,
                PKIXRevocationChecker.Option.NO_FALLBACK,
                PKIXRevocationChecker.Option.ONLY_END_ENTITY));
            path.addCertPathChecker(revocation);
            builder.build(path);
            return id.group();
        } catch (GeneralSecurityException | IOException error) {
            throw new CertificateException("the certificate of " + id.group() + " does not verify", error);
        }
    }

    /** The kubelet lets the link ..data point to all files of one moment. */
    static Path data(Path mount) throws IOException {
        var link = mount.resolve("..data");
        return Files.exists(link) ? link.toRealPath() : mount;
    }

    /** The octets of a file with one PEM block. */
    static byte[] pem(Path path) throws IOException {
        return Base64.getDecoder().decode(Files.readString(path).replaceAll("-----[A-Z ]+-----|\\s", ""));
    }

    private static List<X509Certificate> certificates(Path path) throws IOException, CertificateException {
        try (var file = Files.newInputStream(path)) {
            var all = CertificateFactory.getInstance("X.509").generateCertificates(file);
            return all.stream().map(X509Certificate.class::cast).toList();
        }
    }

    private static CertStore store(Collection<?> content) throws GeneralSecurityException {
        return CertStore.getInstance("Collection", new CollectionCertStoreParameters(content));
    }
}
