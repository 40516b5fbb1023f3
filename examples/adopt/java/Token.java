import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.NoSuchAlgorithmException;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.EdECPoint;
import java.security.spec.EdECPublicKeySpec;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.NamedParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.PSSParameterSpec;
import java.security.spec.RSAPublicKeySpec;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import java.util.UUID;

/** Tokens that services sign themselves. */
final class Token {
    private Token() {}

    /** Signs a token for a callee. The algorithm is what the TrustDomain says in signingKeys, ES256 if it says nothing. */
    static String sign(Path folder, String alg, String id, String audience, long maxLifetimeSeconds)
            throws IOException, GeneralSecurityException {
        var mount = Delivered.data(folder.resolve("signing-key"));
        var family = alg.startsWith("ES") ? "EC" : alg.equals("EdDSA") ? "EdDSA" : "RSA";
        var key = KeyFactory.getInstance(family).generatePrivate(new PKCS8EncodedKeySpec(Delivered.pem(mount.resolve("private.pem"))));
        var now = Instant.now().getEpochSecond();
        // None of these texts needs escaping.
        var header = "{\"typ\":\"service+jwt\",\"alg\":\"%s\",\"kid\":\"%s\"}".formatted(alg, Files.readString(mount.resolve("kid")));
        var claims = "{\"iss\":\"%1$s\",\"sub\":\"%1$s\",\"aud\":\"%2$s\",\"jti\":\"%3$s\",\"iat\":%4$d,\"nbf\":%4$d,\"exp\":%5$d}"
            .formatted(id, audience, UUID.randomUUID(), now, now + Math.min(60, maxLifetimeSeconds));
        var message = encode(header.getBytes(StandardCharsets.UTF_8)) + "." + encode(claims.getBytes(StandardCharsets.UTF_8));
        var signature = signature(alg);
        signature.initSign(key);
        signature.update(message.getBytes(StandardCharsets.US_ASCII));
        return message + "." + encode(signature.sign());
    }

    /**
     * Whether a key has signed a token. It is the one of the token's kid in the key set of the caller; its alg must be that
     * of the token. What the claims must say comes after that.
     */
    static boolean verifies(Map<String, String> jwk, String token) throws GeneralSecurityException {
        var end = token.lastIndexOf('.');
        var signature = signature(jwk.get("alg"));
        signature.initVerify(key(jwk));
        signature.update(token.substring(0, end).getBytes(StandardCharsets.US_ASCII));
        try {
            return signature.verify(Base64.getUrlDecoder().decode(token.substring(end + 1)));
        } catch (SignatureException | IllegalArgumentException malformed) {
            return false;
        }
    }

    private static Signature signature(String alg) throws GeneralSecurityException {
        var signature = Signature.getInstance(switch (alg) {
            case "ES256" -> "SHA256withECDSAinP1363Format";
            case "ES384" -> "SHA384withECDSAinP1363Format";
            case "EdDSA" -> "Ed25519";
            case "RS256" -> "SHA256withRSA";
            case "PS256" -> "RSASSA-PSS";
            default -> throw new NoSuchAlgorithmException(alg);
        });
        if (alg.equals("PS256")) {
            signature.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        }
        return signature;
    }

    private static PublicKey key(Map<String, String> jwk) throws GeneralSecurityException {
        switch (jwk.get("kty")) {
            case "EC" -> {
                var curve = AlgorithmParameters.getInstance("EC");
                curve.init(new ECGenParameterSpec(jwk.get("crv").equals("P-256") ? "secp256r1" : "secp384r1"));
                var point = new ECPoint(number(jwk.get("x")), number(jwk.get("y")));
                return KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(point, curve.getParameterSpec(ECParameterSpec.class)));
            }
            case "RSA" -> {
                return KeyFactory.getInstance("RSA").generatePublic(new RSAPublicKeySpec(number(jwk.get("n")), number(jwk.get("e"))));
            }
            default -> { // Ed25519: y, the last octet first, with the lowest bit of x above it.
                var octets = Base64.getUrlDecoder().decode(jwk.get("x"));
                var reversed = new byte[octets.length];
                for (int i = 0; i < octets.length; i++) {
                    reversed[i] = octets[octets.length - 1 - i];
                }
                boolean odd = (reversed[0] & 0x80) != 0;
                reversed[0] &= 0x7f;
                var point = new EdECPoint(odd, new BigInteger(1, reversed));
                return KeyFactory.getInstance("EdDSA").generatePublic(new EdECPublicKeySpec(NamedParameterSpec.ED25519, point));
            }
        }
    }

    private static BigInteger number(String text) {
        return new BigInteger(1, Base64.getUrlDecoder().decode(text));
    }

    private static String encode(byte[] octets) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(octets);
    }
}
