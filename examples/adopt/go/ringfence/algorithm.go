package ringfence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384
	"errors"
	"fmt"
	"math/big"
)

// algorithm signs and verifies as one of the names in "alg" demands (RFC 7518, RFC 8037).
type algorithm struct {
	hash  crypto.Hash
	curve elliptic.Curve // of ECDSA
	pss   bool           // of RSA
}

// No name stands for "none", and none for a shared secret.
var algorithms = map[string]algorithm{
	"ES256": {hash: crypto.SHA256, curve: elliptic.P256()},
	"ES384": {hash: crypto.SHA384, curve: elliptic.P384()},
	"EdDSA": {},
	"RS256": {hash: crypto.SHA256},
	"PS256": {hash: crypto.SHA256, pss: true},
}

// saltAsLong as the digest is what PS256 takes.
var saltAsLong = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

func (a algorithm) digest(message []byte) []byte {
	if a.hash == 0 {
		return message
	}
	hash := a.hash.New()
	hash.Write(message)
	return hash.Sum(nil)
}

// verifies says whether a signature is that of a public key, which is of the algorithm's own kind.
func (a algorithm) verifies(key crypto.PublicKey, message, signature []byte) bool {
	digest := a.digest(message)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		size := (a.curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(key, digest, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	case *rsa.PublicKey:
		if a.pss {
			return rsa.VerifyPSS(key, a.hash, digest, signature, saltAsLong) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
	}
	return false
}

// sign makes the signature of a private key, which is of the algorithm's own kind.
func (a algorithm) sign(key crypto.Signer, message []byte) ([]byte, error) {
	private, isECDSA := key.(*ecdsa.PrivateKey)
	switch {
	case a.pss:
		return key.Sign(rand.Reader, a.digest(message), saltAsLong)
	case !isECDSA:
		return key.Sign(rand.Reader, a.digest(message), a.hash)
	}
	r, s, err := ecdsa.Sign(rand.Reader, private, a.digest(message))
	if err != nil {
		return nil, err
	}
	size := (a.curve.Params().BitSize + 7) / 8
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	return signature, nil
}

// algorithmOf names the algorithm of a private key. Of an RSA key its file does not say whether it is used with RS256 or with
// PS256: where the TrustDomain chose PS256, name it here.
func algorithmOf(key any) (string, error) {
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		for _, name := range []string{"ES256", "ES384"} {
			if key.Curve == algorithms[name].curve {
				return name, nil
			}
		}
		return "", errors.New("its curve is neither P-256 nor P-384")
	case ed25519.PrivateKey:
		return "EdDSA", nil
	case *rsa.PrivateKey:
		return "RS256", nil
	default:
		return "", fmt.Errorf("nothing is signed with a %T", key)
	}
}
