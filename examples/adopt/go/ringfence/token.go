package ringfence

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// tokenType tells a token that a service signs from all others.
	tokenType = "service+jwt"
	// leeway is how far the clocks of two services may be apart.
	leeway = 30 * time.Second
	// longestToken is how long a token of ours is good for, if its callee does not demand a shorter life: long enough for
	// one call.
	longestToken = time.Minute
)

type header struct {
	Type     string          `json:"typ"`
	Alg      string          `json:"alg"`
	KeyID    string          `json:"kid"`
	Critical json.RawMessage `json:"crit,omitempty"`
}

// Claims are what a token says.
type Claims struct {
	Issuer    ID       `json:"iss"`
	Subject   ID       `json:"sub"`
	Audience  audience `json:"aud"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	TokenID   string   `json:"jti"`
	// OnBehalfOf is the user for whom the caller asks, as the caller says.
	OnBehalfOf json.RawMessage `json:"obo,omitempty"`
}

// audience is one text or a list of them.
type audience []string

// UnmarshalJSON reads both forms.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// signer signs this service's tokens.
type signer struct {
	keyID string
	alg   string
	key   crypto.Signer
}

func parseSigner(private, keyID string) (*signer, error) {
	block, _ := pem.Decode([]byte(private))
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	alg, err := algorithmOf(key)
	if err != nil {
		return nil, err
	}
	return &signer{keyID: keyID, alg: alg, key: key.(crypto.Signer)}, nil
}

// token signs a token as a callee demands it, for the name that is called if that is one of its audiences.
func (d *Delivered) token(demanded *Token, name string, onBehalfOf json.RawMessage, now time.Time) (string, error) {
	if demanded.Signer != "Caller" {
		return "", errors.New("the callee demands a token of an issuer, which this program doesn't fetch")
	}
	if d.signer == nil {
		return "", errors.New("the callee demands a token, and no signing key was delivered: set signingKey in the ServiceIdentity, and mount the Secret")
	}
	lifetime := longestToken
	if demanded.MaxLifetimeSeconds > 0 {
		lifetime = min(lifetime, time.Duration(demanded.MaxLifetimeSeconds)*time.Second)
	}
	audiences := audience(demanded.Audiences)
	if slices.Contains(audiences, name) {
		audiences = audience{name}
	}
	return d.signer.sign(Claims{
		Issuer: d.Access.SPIFFEID, Subject: d.Access.SPIFFEID, Audience: audiences,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(lifetime).Unix(),
		TokenID: rand.Text(), OnBehalfOf: onBehalfOf,
	})
}

func (s *signer) sign(claims Claims) (string, error) {
	encoded := make([]string, 2)
	for i, part := range []any{header{Type: tokenType, Alg: s.alg, KeyID: s.keyID}, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		encoded[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	message := strings.Join(encoded, ".")
	signature, err := algorithms[s.alg].sign(s.key, []byte(message))
	return message + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// claimedIssuer is what a token says of who signed it, before anything is verified: good for choosing what to verify it
// with, and for nothing else.
func claimedIssuer(token string) ID {
	var claims Claims
	if parts := strings.Split(token, "."); len(parts) == 3 {
		_ = decode(parts[1], &claims)
	}
	return claims.Issuer
}

// verify verifies a token that a caller signs: with the keys of that caller and of no one else.
func (d *Delivered) verify(token string, caller ID, demanded *Token, now time.Time) (*Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the token is not a signed JWT")
	}
	var head header
	if err := decode(parts[0], &head); err != nil {
		return nil, fmt.Errorf("the token's header: %w", err)
	}
	if head.Type != tokenType || head.Critical != nil {
		return nil, fmt.Errorf("the token's typ is %q and not %s, or it has crit", head.Type, tokenType)
	}
	key, known := d.keySets[demanded.KeySet][head.KeyID]
	switch {
	case !known || key.spiffeID != caller:
		return nil, fmt.Errorf("%s has no key %q", caller, head.KeyID)
	case head.Alg != key.alg:
		return nil, fmt.Errorf("the token's alg is %q; its key is for %s alone", head.Alg, key.alg)
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || !algorithms[key.alg].verifies(key.key, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, errors.New("the token's signature is not that of its key")
	}
	claims := new(Claims)
	if err := decode(parts[1], claims); err != nil {
		return nil, fmt.Errorf("the token's claims: %w", err)
	}
	return claims, claims.check(caller, demanded, now)
}

func (c *Claims) check(caller ID, demanded *Token, now time.Time) error {
	begin, end := time.Unix(max(c.IssuedAt, c.NotBefore), 0), time.Unix(c.Expires, 0)
	ours := func(audience string) bool { return slices.Contains(demanded.Audiences, audience) }
	switch {
	case c.Issuer != caller || c.Subject != caller:
		return errors.New("the token's iss and sub are not both its signer")
	case !slices.ContainsFunc(c.Audience, ours):
		return fmt.Errorf("the token is for %q", c.Audience)
	case c.IssuedAt == 0 || c.NotBefore == 0 || c.TokenID == "":
		return errors.New("the token lacks iat, nbf or jti")
	case begin.After(now.Add(leeway)):
		return errors.New("the token is not valid yet")
	case !now.Add(-leeway).Before(end):
		return errors.New("the token has expired")
	case end.Sub(time.Unix(min(c.IssuedAt, c.NotBefore), 0)) > time.Duration(demanded.MaxLifetimeSeconds)*time.Second+leeway:
		return fmt.Errorf("the token is good for longer than %d s", demanded.MaxLifetimeSeconds)
	}
	return nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
