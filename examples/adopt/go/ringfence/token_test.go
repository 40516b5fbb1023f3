package ringfence

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// receiver verifies order's tokens by its one key.
func receiver(alg string, signer *signer) *Delivered {
	set := must(parseKeySet(keySetOf(order, alg, signer.key.Public())))
	return &Delivered{keySets: map[string]keySet{"order": set}}
}

var demanded = &Token{Signer: "Caller", KeySet: "order", Audiences: []string{"payment", string(payment)}, MaxLifetimeSeconds: 60}

func TestATokenOfEachAlgorithmVerifies(t *testing.T) {
	for alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			key := &signer{keyID: alg, alg: alg, key: newKey(alg)}
			caller := &Delivered{Access: Access{SPIFFEID: order}, signer: key}
			token := must(caller.token(demanded, "payment", json.RawMessage(`{"sub":"alice"}`), time.Now()))
			claims, err := receiver(alg, key).verify(token, order, demanded, time.Now())
			if err != nil || string(claims.OnBehalfOf) != `{"sub":"alice"}` {
				t.Fatalf("%v, %v", claims, err)
			}
			forged := token[:len(token)-8] + strings.Repeat("A", 8)
			if _, err := receiver(alg, key).verify(forged, order, demanded, time.Now()); err == nil {
				t.Error("a forged signature verified")
			}
		})
	}
}

func TestATokenIsRefused(t *testing.T) {
	key := &signer{keyID: "ES256", alg: "ES256", key: newKey("ES256")}
	callee, now := receiver("ES256", key), time.Now()
	good := Claims{
		Issuer: order, Subject: order, Audience: audience{"payment"}, IssuedAt: now.Unix(), NotBefore: now.Unix(),
		Expires: now.Unix() + 60, TokenID: "1",
	}
	for why, change := range map[string]func(*header, *Claims, *signer){
		"":                             func(*header, *Claims, *signer) {},
		"typ":                          func(h *header, _ *Claims, _ *signer) { h.Type = "JWT" },
		"crit":                         func(h *header, _ *Claims, _ *signer) { h.Critical = json.RawMessage(`["b64"]`) },
		"has no key":                   func(h *header, _ *Claims, _ *signer) { h.KeyID = "other" },
		"alg is \"none\"":              func(h *header, _ *Claims, _ *signer) { h.Alg = "none" },
		"alg is \"HS256\"":             func(h *header, _ *Claims, _ *signer) { h.Alg = "HS256" },
		"not that of its key":          func(_ *header, _ *Claims, s *signer) { s.key = newKey("ES256") },
		"are not both its signer":      func(_ *header, c *Claims, _ *signer) { c.Subject = cart },
		"is for [\"delivery\"]":        func(_ *header, c *Claims, _ *signer) { c.Audience = audience{"delivery"} },
		"lacks iat, nbf or jti":        func(_ *header, c *Claims, _ *signer) { c.TokenID = "" },
		"is not valid yet":             func(_ *header, c *Claims, _ *signer) { c.NotBefore += 31 },
		"has expired":                  func(_ *header, c *Claims, _ *signer) { c.IssuedAt -= 90; c.NotBefore -= 90; c.Expires -= 90 },
		"is good for longer than 60 s": func(_ *header, c *Claims, _ *signer) { c.Expires += 31 },
	} {
		t.Run(why, func(t *testing.T) {
			head, claims, by := header{Type: tokenType, Alg: "ES256", KeyID: "ES256"}, good, *key
			change(&head, &claims, &by)
			message := base64url(must(json.Marshal(head))) + "." + base64url(must(json.Marshal(claims)))
			signature := must(algorithms["ES256"].sign(by.key, []byte(message)))
			_, err := callee.verify(message+"."+base64url(signature), order, demanded, now)
			if (why == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), why)) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := callee.verify("a.b", order, demanded, now); err == nil {
		t.Error("two parts verified")
	}
	if _, err := callee.verify(must(key.sign(good)), cart, demanded, now); err == nil {
		t.Error("the key of one caller speaks for another")
	}
}

func TestWithoutKeyThereIsNoToken(t *testing.T) {
	for _, demand := range []*Token{demanded, {Signer: "Issuer"}} {
		if token, err := new(Delivered).token(demand, "payment", nil, time.Now()); err == nil {
			t.Errorf("%v: %s", demand, token)
		}
	}
}
