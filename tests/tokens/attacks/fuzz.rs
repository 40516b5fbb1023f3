//! Anything at all, over the wire.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::forge::claims;
use super::shop::{Shop, basic, inactive};
use super::wire::Request;

/// How many of each kind; each kind takes about a second.
const ROUNDS: usize = 300;

/// More memory than a token service may have gained by all this, in octets.
const GROWTH: u64 = 32 * 1024 * 1024;

/// Small numbers from a seed, so that a failure can be seen again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*, which is enough for choosing.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }

    /// A text with a few octets changed, taken out, doubled, or put in.
    fn change(&mut self, text: &str) -> Vec<u8> {
        let mut octets = text.as_bytes().to_vec();
        for _ in 0..=self.roll(6) {
            let place = self.roll(octets.len().max(1));
            let octet = u8::try_from(self.roll(256)).unwrap();
            match self.roll(5) {
                0 if !octets.is_empty() => octets[place] = octet,
                1 if !octets.is_empty() => drop(octets.remove(place)),
                2 => octets.insert(place.min(octets.len()), octet),
                3 => octets.truncate(place),
                _ => {
                    let piece = octets[place.min(octets.len())..].to_vec();
                    octets.extend(piece);
                }
            }
        }
        octets
    }
}

#[tokio::test]
async fn whatever_comes_over_the_wire_is_refused_in_bounded_memory() {
    let shop = Shop::open("fuzz").await;
    let mut seed = [0; 8];
    rand::fill(&mut seed).unwrap();
    let seed = u64::from_le_bytes(seed) | 1;
    let mut dice = Dice(seed);
    let before = shop.memory();
    let token = shop.token("gateway", "order").await;
    let (web, secret) = shop.web();
    let (gateway, order, mut answered) = (shop["gateway"].id(), shop["order"].id(), 0);
    let good = format!("grant_type=client_credentials&audience={order}&scope=shop.read");
    let exchange = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token&audience={}\
         &requested_token_type=urn:ietf:params:oauth:token-type:txn_token&purpose=a&request_details=%7B%22a%22%3A%5B1%5D%7D",
        shop["delivery"].id()
    );
    let type_ = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let paths = ["/token", "/introspect", "/revoke"];
    for round in 0..ROUNDS {
        let assertion = shop.assertion("gateway");
        let path = dice.pick(&paths);
        let asserted = format!("{good}&client_assertion_type={type_}&client_assertion={assertion}");
        let form = dice.pick(&[good.as_str(), &exchange, &format!("token={token}"), &asserted]).to_owned();
        let mut request = Request::post(path, "application/x-www-form-urlencoded", dice.change(&form));
        // Each from another address, so that it is looked at and not just turned away for coming too often.
        let wire = shop.from(round).wire([None, Some("stranger")][dice.roll(2)]);
        match dice.roll(4) {
            0 => request = request.header(format!("authorization: {}", URL_SAFE_NO_PAD.encode(dice.change(secret)))),
            1 => request = request.header(basic(web, &String::from_utf8_lossy(&dice.change(secret)))),
            _ => {}
        }
        let octets = request.octets(wire.host());
        let octets = if dice.roll(3) == 0 { dice.change(&String::from_utf8_lossy(&octets)) } else { octets };
        // A request that is not finished would be waited for: this is about what is read.
        let octets = [octets.as_slice(), b"\r\n\r\n"].concat();
        let answers = wire.send_unfinished(&octets).await;
        answered += usize::from(!answers.is_empty());
        for answer in &answers {
            let given = answer.json["access_token"].as_str();
            // A change may leave the client's assertion and what it asks for as they are: that it gets, and no more.
            let is_own = |token| {
                let claims = claims(token);
                claims["client_id"] == gateway && claims["aud"] == order && claims["scope"] == "shop.read"
            };
            let fine = answer.status < 500 && given.is_none_or(is_own);
            assert!(fine, "seed {seed}, round {round}: {answer:?} to {}", String::from_utf8_lossy(&octets));
        }
    }
    assert!(answered > ROUNDS / 2, "{answered} of {ROUNDS} requests were answered");
    // Tokens and assertions from the inside: JSON and base64url of all kinds, behind a good header.
    for round in 0..ROUNDS {
        let assertion = shop.assertion("gateway");
        let parts: Vec<String> = assertion
            .split('.')
            .map(|part| match dice.roll(3) {
                0 => part.to_owned(),
                // What a form can't carry is looked at above.
                1 => String::from_utf8_lossy(&dice.change(part)).replace(char::REPLACEMENT_CHARACTER, "?"),
                _ => {
                    let inside = URL_SAFE_NO_PAD.decode(part).unwrap();
                    URL_SAFE_NO_PAD.encode(dice.change(&String::from_utf8_lossy(&inside)))
                }
            })
            .collect();
        let forged = parts.join(".");
        if forged == assertion {
            continue;
        }
        let shop = shop.from(round);
        let answer = shop.by_assertion(&forged, "order").await;
        assert!((400..500).contains(&answer.status), "seed {seed}, round {round}: {answer:?} to {forged}");
        let answer = shop.exchange("order", &forged, "delivery", &[]).await;
        assert!((400..500).contains(&answer.status), "seed {seed}, round {round}: {answer:?} to {forged}");
        assert_eq!(shop.introspect("order", &forged).await, inactive(), "seed {seed}, round {round}");
    }
    shop.is_well().await;
    let grown = shop.memory().saturating_sub(before);
    assert!(grown < GROWTH, "it holds {grown} octets more than before (seed {seed})");
}
