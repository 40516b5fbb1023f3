package ringfence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// keySet holds the keys of one signer, by their "kid".
type keySet map[string]publicKey

type publicKey struct {
	alg      string
	spiffeID ID
	key      crypto.PublicKey
}

// jwk is a public key in a key set (RFC 7517).
type jwk struct {
	KeyID    string `json:"kid"`
	Alg      string `json:"alg"`
	SPIFFEID ID     `json:"spiffe_id"`
	Type     string `json:"kty"`
	Curve    string `json:"crv"`
	X        octets `json:"x"`
	Y        octets `json:"y"`
	N        octets `json:"n"`
	E        octets `json:"e"`
}

// octets are written in base64url without padding.
type octets []byte

// UnmarshalText reads base64url.
func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = base64.RawURLEncoding.Strict().DecodeString(string(text))
	return err
}

func parseKeySet(text string) (keySet, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return nil, err
	}
	keys := keySet{}
	for _, jwk := range set.Keys {
		key, err := jwk.public()
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", jwk.KeyID, err)
		}
		keys[jwk.KeyID] = publicKey{alg: jwk.Alg, spiffeID: jwk.SPIFFEID, key: key}
	}
	return keys, nil
}

// public is the key, which must be of the kind that its "alg" takes.
func (k jwk) public() (crypto.PublicKey, error) {
	switch {
	case k.Type == "EC" && (k.Alg == "ES256" || k.Alg == "ES384"):
		return ecdsa.ParseUncompressedPublicKey(algorithms[k.Alg].curve, slices.Concat([]byte{4}, k.X, k.Y))
	case k.Type == "OKP" && k.Curve == "Ed25519" && k.Alg == "EdDSA" && len(k.X) == ed25519.PublicKeySize:
		return ed25519.PublicKey(k.X), nil
	case k.Type == "RSA" && (k.Alg == "RS256" || k.Alg == "PS256") && len(k.E) <= 4:
		return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}, nil
	}
	return nil, errors.New("it is of no kind that tokens are signed with")
}
